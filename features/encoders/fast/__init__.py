"""Speech encoders, faster: the same numbers as the plain networks."""
