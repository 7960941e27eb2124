"""Measurements of this project on the machine at hand: `python -m bench --help`."""
