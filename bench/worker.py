"""The other end of `bench.process.in_process`: one call, its result as JSON on standard output."""

from __future__ import annotations

import importlib
import json
import sys


def main() -> None:
    """Make the call that the first argument describes."""
    request = json.loads(sys.argv[1])
    function = getattr(importlib.import_module(request["module"]), request["function"])
    json.dump(function(**request["arguments"]), sys.stdout)


if __name__ == "__main__":
    main()
