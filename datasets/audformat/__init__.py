"""Any audformat database: the reader, and access to its schemes and splits."""
