"""What a run says of itself: diagnostics, random-number logs, run report."""
