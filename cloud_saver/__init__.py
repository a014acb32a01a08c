"""Takes faces from the cloud broker and writes each to object storage."""
