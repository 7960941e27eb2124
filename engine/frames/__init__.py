"""Arrivals as data frames: from tables in memory, or from what a run has published."""
