"""Validation, state S5: every published arrival judged again, by code that shares nothing with the expansion."""
