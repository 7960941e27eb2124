"""Alias blobs of 2B (sites) and 3B (virtual edges): their binary form, written, read and verified."""
