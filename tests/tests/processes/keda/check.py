"""Checks YAML files against schema.json beside this file: every document, every fault, exit 1 where there is one."""
import json
import pathlib
import sys

import jsonschema
import yaml

schema = json.loads((pathlib.Path(__file__).parent / "schema.json").read_text())
validator = jsonschema.Draft202012Validator(schema)
faults = checked = 0
for name in sys.argv[1:]:
    for document in yaml.safe_load_all(pathlib.Path(name).read_text()):
        checked += 1
        for error in validator.iter_errors(document):
            deepest = jsonschema.exceptions.best_match([error])
            print(f"{name}: {'/'.join(map(str, deepest.absolute_path))}: {deepest.message}")
            faults += 1
print(f"{checked} documents")
sys.exit(1 if faults or not checked else 0)
