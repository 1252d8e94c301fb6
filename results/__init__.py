"""Metrics, run records, significance, comparison and leaderboard: what is read out of a run."""

if __name__ != "serbench.results":
    raise ImportError(
        f"this folder is the package serbench.results, but it was imported as {__name__!r}: "
        "the checkout is on sys.path. Install it with 'pip install -e .', then "
        "'from serbench import results'; run Python with PYTHONSAFEPATH=1 (or -P) inside the checkout."
    )
