"""Progress, interrupts, threads and facts of the machine."""
