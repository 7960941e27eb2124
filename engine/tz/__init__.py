"""Time zones: the TZC1 cache, the pinned tzdata package, and the check of one against the other."""
