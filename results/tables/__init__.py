"""What is read out of runs: leaderboard, comparison, matrix, mean ranks, needed trials, references, verification."""
