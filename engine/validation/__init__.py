"""Validation, state S5: checks of every published arrival, by code that shares nothing with the expansion."""
