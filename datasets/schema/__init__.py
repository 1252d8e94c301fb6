"""What a corpus is: its table, tasks, labels across corpora, turns in context, groups, and unions."""
