"""Run directories: receipt, settings, and how files are read, staged and hashed."""
