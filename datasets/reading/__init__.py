"""Corpora as they lie on disk: finding files, label files, aligned words, acted corpora, loading by name."""
