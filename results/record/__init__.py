"""The record of a run: identity and files, the runs of a folder, pairing by key, sharing with others."""
