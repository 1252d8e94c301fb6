"""Words as they are said: saved encoders of spoken words, and what a recogniser hears."""
