#!/usr/bin/env python3
"""The licences of what is linked into a program, as a package must bring them.

    notices.py [--arch x86_64|aarch64] foreshadow|foreshadow-agent

Reads what cargo knows and the crates' own licence files, offline; each text is printed once, with the crates it is of. Which licences
are allowed at all is in deny.toml, and checked there.
"""

import argparse
import collections
import json
import subprocess
import sys
from pathlib import Path

PROLOGUE = """{program} is licensed under the Apache License 2.0. It is linked with the crates below, each under its own licence,
and with the standard library of Rust (MIT OR Apache-2.0, https://www.rust-lang.org).
"""
FILES = ("LICEN", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE")


def linked(metadata: dict, program: str) -> list:
    """The crates that end up in the program: no build scripts, no macros, no tests."""
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    begin = [
        package["id"]
        for package in metadata["packages"]
        if any(target["name"] == program and "bin" in target["kind"] for target in package["targets"])
    ]
    if not begin:
        sys.exit(f"notices.py: {program}: no package of the workspace makes a program of that name")
    seen, wanted = set(), begin
    while wanted:
        crate = wanted.pop()
        if crate in seen or any("proc-macro" in target["kind"] for target in packages[crate]["targets"]):
            continue
        seen.add(crate)
        for dependency in nodes[crate]["deps"]:
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                wanted.append(dependency["pkg"])
    ours = set(metadata["workspace_members"])
    return sorted((packages[crate] for crate in seen - ours), key=lambda package: (package["name"], package["version"]))


def texts(package: dict) -> list:
    """Its licence files, those in its directory and the one that its manifest names."""
    directory = Path(package["manifest_path"]).parent
    found = {path for path in directory.iterdir() if path.name.upper().startswith(FILES) and path.is_file()}
    if package["license_file"]:
        found.add(directory / package["license_file"])
    return [path.read_text(encoding="utf-8", errors="replace").strip() for path in sorted(found)]


def main():
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--arch", default="x86_64", choices=("x86_64", "aarch64"))
    asked.add_argument("program", choices=("foreshadow", "foreshadow-agent"))
    asked = asked.parse_args()
    command = ["cargo", "metadata", "--offline", "--locked", "--format-version=1"]
    command.append(f"--filter-platform={asked.arch}-unknown-linux-gnu")
    metadata = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    crates = linked(metadata, asked.program)
    of_text = collections.defaultdict(list)
    print(PROLOGUE.format(program=asked.program))
    for package in crates:
        found = texts(package)
        print(f"{package['name']} {package['version']}: {package['license'] or 'see its text below'}"
              + ("" if found else " (the crate brings no text)"))
        for text in found:
            of_text[text].append(f"{package['name']} {package['version']}")
    for text, names in sorted(of_text.items(), key=lambda entry: entry[1]):
        print(f"\n{'=' * 80}\n{', '.join(names)}\n{'-' * 80}\n{text}")


if __name__ == "__main__":
    main()
