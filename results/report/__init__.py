"""The report: one page with every ranking, its tables and figures."""
