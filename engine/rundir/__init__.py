"""What a run directory is: its receipt, its settings, how its files are read, staged and hashed."""
