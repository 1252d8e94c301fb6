"""Miniature copies of corpora in their real layouts, with synthetic speech; a module is named for its corpus."""
