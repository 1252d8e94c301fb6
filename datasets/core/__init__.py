"""What all of serbench stands on: errors, files, configurations, and the registry of components."""
