"""Protocols, trials, the grid and the command line."""

if __name__ != "serbench.benchmarks":
    raise ImportError(
        f"this folder is the package serbench.benchmarks, but it was imported as {__name__!r}: "
        "the checkout is on sys.path. Install it with 'pip install -e .', then "
        "'from serbench import benchmarks'; run Python with PYTHONSAFEPATH=1 (or -P) inside the checkout."
    )
