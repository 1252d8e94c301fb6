"""From predictions to numbers: metrics, scores by trial and subset, metrics as sums for resampling."""
