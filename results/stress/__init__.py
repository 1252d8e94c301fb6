"""What is left of a score when the test audio is perturbed: curves over levels, drops, and who is more robust."""
