"""MAEC: the model, its bags of instances, network, losses, and what the record says of a training."""
