"""Whether a model knows how sure it may be: calibration of classes and values, and what abstaining is worth."""
