"""Build the conda package of conda/recipe.yaml and run its tests: `python scripts/conda_package.py FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from rattler_build import Stage0Recipe, ToolConfiguration

_RECIPE = Path(__file__).resolve().parent.parent / "conda" / "recipe.yaml"

_recipe = Stage0Recipe.from_file(str(_RECIPE))
for _built in _recipe.run_build(tool_config=ToolConfiguration(test_strategy="native"), output_dir=Path(sys.argv[1])):
    print(*_built.packages)
