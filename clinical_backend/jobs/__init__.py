"""Who runs the rounds: a supervised child process by default."""
