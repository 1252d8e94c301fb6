"""What `make torture` does to serbench: killed anywhere, full disks, damaged files, signals, hostile and mutated input."""
