"""A process that reads a world and ends with its first batch of arrivals; `bench.jit` takes its time.

It prints the moment at which it held the batch, on the clock that all processes of the machine share.
"""

from __future__ import annotations

import sys
import time


def main() -> None:
    """Seal check, read, plan, expand: what `for batch in expand(plan(load_world(...)))` does before its first turn."""
    from arrival_engine import expand, load_world, plan

    for batch in expand(plan(load_world(sys.argv[1]))):
        print(time.clock_gettime(time.CLOCK_MONOTONIC), batch.num_rows)
        break


if __name__ == "__main__":
    main()
