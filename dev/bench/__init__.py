"""How fast and how frugal the programs are, beside what people would take instead: `python -m dev.bench`."""
