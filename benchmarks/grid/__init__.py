"""`serbench run`: the grid, plans, units of work, trials, and what is recorded of them."""
