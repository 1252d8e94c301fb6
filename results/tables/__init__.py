"""What is read out of runs: leaderboard, comparison, matrix, ranking, planning, references, verification."""
