"""Pure functions of significance: tests, intervals, effect sizes, resampling, power, simulated experiments."""
