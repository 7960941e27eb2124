"""What a process has to work with: progress, interrupts, threads, facts of the machine."""
