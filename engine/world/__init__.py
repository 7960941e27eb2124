"""A run directory's inputs, read and checked."""
