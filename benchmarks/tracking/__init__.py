"""Trackers of experiments: TensorBoard, MLflow and W&B are told of each epoch of a training, and of each record."""
