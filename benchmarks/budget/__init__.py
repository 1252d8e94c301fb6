"""`serbench plan`: what a run will take, measured on a pilot or taken from records."""
