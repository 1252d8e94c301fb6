"""The people behind the labels: how far they agree, what one of them scores, and what no model can get past."""
