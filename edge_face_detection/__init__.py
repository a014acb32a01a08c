"""Reads a camera or a video, finds faces, cuts each out and publishes it as a PNG message."""
