"""The clustering step of an epoch: points, k-means, whitening, pseudo-labels, agreement of clusters."""
