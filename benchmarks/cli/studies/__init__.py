"""`serbench study`: one file for each paper's experiments."""
