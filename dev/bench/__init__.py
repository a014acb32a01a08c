"""Speed and cost of the programs, beside the usual alternatives: `python -m dev.bench`."""
