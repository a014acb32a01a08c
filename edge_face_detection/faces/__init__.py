"""Finds faces and follows them from frame to frame."""
