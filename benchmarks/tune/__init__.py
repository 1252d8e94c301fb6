"""The search over a model's settings inside each training."""
