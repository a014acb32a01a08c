"""What developers run: the whole path on one machine, chaos, benchmarks. No program needs it."""
