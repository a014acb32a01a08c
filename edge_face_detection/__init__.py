"""Reads a camera or a video, finds faces, cuts each out and publishes it as a PNG message."""

import os

# Before numpy is imported: its library for matrices would start a thread for each CPU, which spins for a while. Nothing
# here multiplies large ones.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
