"""The papers' experiments as studies, and cross-corpus runs."""
