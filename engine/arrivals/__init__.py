"""Part files, and their publication."""
