#!/usr/bin/env python3
"""The windows that docs/recipes/pytorch_network.py makes of a series, as JSON. Torch is not needed for them, and not loaded.

    target/tools/bin/python tests/oracles/recipe_windows.py SERIES.csv KNOWN...
"""

import importlib.util
import json
import pathlib
import sys
import types

RECIPE = pathlib.Path(__file__).parents[2] / "docs/recipes/pytorch_network.py"


def main():
    torch = types.ModuleType("torch")
    torch.nn = types.SimpleNamespace(Module=object)
    sys.modules["torch"] = torch
    spec = importlib.util.spec_from_file_location("recipe", RECIPE)
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    first, loads, measured, happened = recipe.read(pathlib.Path(sys.argv[1]))
    made = []
    for known in sys.argv[2:]:
        inputs, centre, scale = recipe.window(first, loads, measured, happened, int(known))
        made.append({"inputs": inputs.flatten().tolist(), "centre": float(centre), "scale": float(scale)})
    contract = {
        "step_seconds": recipe.STEP, "window": recipe.WINDOW, "horizon": recipe.HORIZON, "features": recipe.FEATURES,
        "levels": recipe.LEVELS,
    }
    print(json.dumps({"contract": contract, "windows": made}))


if __name__ == "__main__":
    main()
