"""Run directories: receipt, settings, and the reading, staging and hashing of files."""
