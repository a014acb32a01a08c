"""Where frames come from: cameras, streams, files, folders."""
