"""Learning curves over the amount of training data: scores by share, and the power law that they follow."""
