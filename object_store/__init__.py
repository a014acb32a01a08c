"""The bucket, for saver and gallery: what is written to it, listed and read, and errors that say what to do."""
