"""Everything that touches files, processes and people; the public API is `arrival_engine`."""
