"""What a trained model has learned: its clusters, its salience, its traces over time."""
