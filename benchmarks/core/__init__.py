"""What the benchmarks stand on: the machine, display of progress, what is registered and installed."""
