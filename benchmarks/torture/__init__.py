"""What `make torture` does: killed anywhere, full disks, damaged files, signals, hostile and mutated input."""
