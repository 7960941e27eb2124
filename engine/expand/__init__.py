"""Counts to arrivals: plan, backend, batches, and the sums that are kept of them."""
