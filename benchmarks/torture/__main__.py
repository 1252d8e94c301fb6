"""`python -m serbench.benchmarks.torture`: see `page.py`."""

import sys

from .page import main

sys.exit(main())
