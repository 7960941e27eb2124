"""`python -m arrival_engine` is the `arrivals` command."""

from __future__ import annotations

import sys

from arrival_engine.engine.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
