"""What is asked for and how it is split: request, corpora and tasks that it means, subsets, guards."""
