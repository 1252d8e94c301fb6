"""The feature cache: content-addressed arrays in append-only packs, verified on read."""
