"""Training of torch models: the one loop, its settings and state file, losses, pooling, the device."""
