"""Takes faces from the edge broker into custody on disk and sends them to the cloud broker."""
