#!/usr/bin/env python3
"""Checks ONNX files with the onnx checker, and answers their manifests' golden vectors with onnxruntime.

    target/tools/bin/python tests/oracles/onnx_check.py NETWORK.onnx...

For each file: one line with the largest difference between onnxruntime and the golden outputs.
"""

import json
import pathlib
import sys

import numpy
import onnx
import onnxruntime


def main():
    for name in sys.argv[1:]:
        path = pathlib.Path(name)
        onnx.checker.check_model(onnx.load(path), full_check=True)
        manifest = json.loads(path.with_suffix(".json").read_text())
        contract = manifest["contract"]
        inputs = numpy.array([golden["input"] for golden in manifest["golden"]], dtype=numpy.float32)
        inputs = inputs.reshape(-1, contract["window"], len(contract["features"]))
        wanted = numpy.array([golden["output"] for golden in manifest["golden"]], dtype=numpy.float32)
        wanted = wanted.reshape(-1, contract["horizon"], len(contract["levels"]))
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        answers = session.run(None, {session.get_inputs()[0].name: inputs})[0]
        assert answers.shape == wanted.shape, (answers.shape, wanted.shape)
        print(f"{numpy.abs(answers - wanted).max():.3e}")


if __name__ == "__main__":
    main()
