"""`arrivals plan`: what a run would make, and what it would take."""
