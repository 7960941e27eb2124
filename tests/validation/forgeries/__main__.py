"""Measure and print the mutation table.

python -m tests.validation.forgeries            forge everything in every world, and write outcome.json
python -m tests.validation.forgeries --sound    judge right runs of a hundred worlds, and write sound_runs.json
python -m tests.validation.forgeries --table    print outcome.json as a Markdown table
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.support.sound_runs import SEEDS, demo_verdict, drawn_verdicts
from tests.validation.forgeries.outcome import OUTCOME, SOUND, measured, table, write

if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            with tempfile.TemporaryDirectory() as folder:
                write(OUTCOME, measured(Path(folder)))
        case ["--sound"]:
            write(SOUND, {"demo": [demo_verdict(seed) for seed in SEEDS], "drawn": drawn_verdicts()})
        case ["--table"]:
            sys.stdout.write(table())
        case _:
            sys.exit(__doc__)
