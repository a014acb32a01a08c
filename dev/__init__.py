"""Tools of developers: the whole path on one machine, chaos, benchmarks. No program needs them."""
