"""Arrivals in columns for people: one id per place, an offset beside each wall clock, ids in a form readers take."""
