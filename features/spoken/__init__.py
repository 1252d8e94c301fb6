"""Words as they are said: saved encoders of spoken words, what a recogniser hears, where phones of words lie."""
