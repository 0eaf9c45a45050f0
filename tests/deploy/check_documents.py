"""Every command of every document: run where it can run here, and else held against what the programs say they take.

A block is ```sh, and runs; or ```sh and a word that says what it would need: MARKS. What goes on until it is stopped is ```sh stays, is
one command, and runs as well. Whatever its mark, it is sound shell, and its commands of ours exist with the options they are given.
"""

import concurrent.futures
import functools
import itertools
import re
import shlex
import unittest
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

import world
from product import REPOSITORY, Check, binary, on_a_copy, run, stack_template

HERE = Path(__file__).parent
MARKS = {
    "aws": "an account at AWS",
    "kubernetes": "a cluster",
    "torch": "PyTorch, which brings five gigabytes",
    "package": "packages of yours: another check makes them, and runs it (PACKAGED)",
}
# Who makes the packages that a document's blocks install, and runs them.
PACKAGED = {"docs/aws.md": "check_packages", "deploy/runbook.md": "check_upgrade"}
RUNS = ("sh", world.STAYS)
DOCUMENTS = [
    REPOSITORY / "README.md",
    *sorted((REPOSITORY / "docs").glob("*.md")),
    *sorted((REPOSITORY / "deploy").rglob("*.md")),
]
# Else the world with an aggregator that asks for no token.
WORLDS = {
    "README.md": "named",
    "docs/start.md": "bare",
    "docs/security.md": "bare",
    "docs/backtest.md": "past",
    "docs/forecast-scores.md": "past",
    "docs/models.md": "past",
    "docs/tuning.md": "past",
    "docs/aws.md": "secured",
    "docs/identity.md": "secured",
    "docs/metrics.md": "secured",
    "deploy/runbook.md": "secured",
}
# Files made by others' tools, and what is not shown to people.
IMAGES = (".svg", ".png")
# All that the worlds ask for; tests/run has built it.
BUILT = ("build", "--quiet", "--locked", "--workspace", "--bins", "--test", "columns")


@dataclass
class Block:
    line: int
    info: str
    text: str


def name_of(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def blocks(path: Path) -> list:
    found, inside = [], None
    for number, line in enumerate(path.read_text().splitlines(), 1):
        fence = re.match(r"^ *```(.*)$", line)
        if fence and inside is None:
            inside = Block(number + 1, fence[1].strip(), "")
        elif fence:
            found.append(inside)
            inside = None
        elif inside is not None:
            inside.text += line + "\n"
    assert inside is None, f"{path}:{inside.line}: a block that does not end"
    return found


def shell(path: Path) -> list:
    return [block for block in blocks(path) if block.info.split(" ")[0] == "sh"]


def packaged(path: Path) -> list:
    """What installs packages that another check makes."""
    return [block.text for block in shell(path) if block.info == "sh package"]


def inline(path: Path) -> list:
    """What stands between backquotes in running text, and begins with the name of one of ours."""
    text = re.sub(r"^ *```.*?^ *```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [" ".join(found.split()) for found in re.findall(r"`(foreshadow(?:-agent)? [^`]+)`", text)]


def commands(text: str):
    """The calls of our programs in a block, as words."""
    text = re.sub(r"\bcargo run .*--bin (foreshadow\S*) --(?= )", r"\1", text)
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        call, into_file = [], False
        try:
            words = [*lexer, ";"]
        except ValueError:
            # Part of something that goes over several lines; none of ours does.
            assert not re.match(r"\s*foreshadow", line), f"{line}: cannot be read as words"
            continue
        for word in words:
            if set(word) <= set("();|&"):
                if call and re.fullmatch(r"(\S*/)?foreshadow(-agent)?(\.new)?", call[0]):
                    yield call
                call = []
            elif set(word) <= set("<>"):
                into_file = True
            elif into_file:
                into_file = False
            else:
                call.append(word)


class Documents(Check):
    def run_in(self, kind: str, documents: dict):
        directory = self.directory()
        world.furnish(directory)
        ended = on_a_copy(self.directory(), directory, world.script(kind, documents), "--net", timeout=900)
        said = ended.stdout + ended.stderr
        places = [line for line in ended.stderr.splitlines() if line.startswith("@@ ")]
        return ended.returncode, places, said

    def test_what_can_run_here_runs(self):
        worlds = {kind: {} for kind in world.KINDS}
        for path in DOCUMENTS:
            here = [block for block in shell(path) if block.info in RUNS]
            if here:
                worlds[WORLDS.get(name_of(path), "plain")][name_of(path)] = here
        self.assertTrue(all(worlds.values()), "a world without a document")
        # What is not built yet would be built in each world anew.
        self.run_tool("cargo", *BUILT, cwd=REPOSITORY, timeout=1800)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            ended = {kind: pool.submit(self.run_in, kind, documents) for kind, documents in worlds.items()}
        for kind, result in ended.items():
            with self.subTest(world=kind):
                status, places, said = result.result()
                self.assertEqual(status, 0, f"stopped at {places[-2:]}:\n{said[-4000:]}")
                ran = {place.removeprefix("@@ ") for place in places}
                for name, listed in worlds[kind].items():
                    for block in listed:
                        self.assertIn(f"{name}:{block.line}", ran)
                if "docs/start.md" in worlds[kind]:
                    self.assertRegex(said, r"need then \d", "five minutes without a forecast")

    def test_every_block_is_marked_and_sound_shell(self):
        used = {mark for path in DOCUMENTS for block in shell(path) for mark in block.info.split(" ")[1:]} - {"stays"}
        self.assertEqual(used, set(MARKS))
        for path in DOCUMENTS:
            for block in blocks(path):
                where = f"{name_of(path)}:{block.line}"
                self.assertTrue(block.info, f"{where}: a block that does not say what it is: sh, toml, python, text")
                word, *marks = block.info.split(" ")
                if block.info == world.STAYS:
                    self.assertEqual(len([*commands(block.text)]), 1, f"{where}: one command stays")
                else:
                    self.assertFalse(set(marks) - set(MARKS), f"{where}: marks are {sorted(MARKS)}, and stays by itself")
                if word == "sh":
                    self.run_tool("bash", "-n", "-c", block.text)

    def test_what_installs_packages_is_run_by_who_makes_them(self):
        marked = {name_of(path) for path in DOCUMENTS if packaged(path)}
        self.assertEqual(marked, set(PACKAGED))
        for name, check in PACKAGED.items():
            runs = f'packaged(REPOSITORY / "{name}")' in (HERE / f"{check}.py").read_text()
            self.assertTrue(runs, f"{check} does not run what {name} installs")

    def test_no_command_hides_in_an_indented_block(self):
        for path in DOCUMENTS:
            outside = re.sub(r"^ *```.*?^ *```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
            for line in outside.splitlines():
                self.assertFalse(hides(line), f"{name_of(path)}: {line}")
        # The check is one: in a list, deeper, behind a prompt or a root's right.
        for line in ("    foreshadow groups", "       kubectl create x", "\tcurl http://x", "      $ sudo systemctl stop x", "    # foreshadow-agent --once"):
            self.assertTrue(hides(line), line)
        for line in ("  foreshadow", "    foreshadows what comes", "- curl x", "     continued text", "    once foreshadow runs, wait"):
            self.assertFalse(hides(line), line)

    def test_commands_of_ours_exist_with_the_options_they_are_given(self):
        tried = 0
        for path in DOCUMENTS:
            for text in [block.text for block in shell(path)] + inline(path):
                for words in commands(text):
                    where = f"{name_of(path)}: {' '.join(words)}"
                    program = Path(words[0]).name.removesuffix(".new")
                    chain, options = [], []
                    for word in words[1:]:
                        if word.startswith("--"):
                            options.append(word.split("=")[0])
                        elif not options and subcommands(program, tuple(chain)) and word in subcommands(program, tuple(chain)):
                            chain.append(word)
                    told = usage(program, tuple(chain))
                    for option in options:
                        self.assertRegex(told, rf"{re.escape(option)}\b", where)
                    if program == "foreshadow" and words[1:] and not words[1].startswith("-"):
                        self.assertTrue(chain, f"{where}: no such command")
                    tried += 1
        self.assertGreater(tried, 40)

    def test_configurations_are_understood(self):
        tried = 0
        for path in DOCUMENTS:
            above = ""
            for block in blocks(path):
                where = f"{name_of(path)}:{block.line}"
                if block.info == "toml":
                    # Whole, or what is added to what stands above it.
                    alone, together = self.faults(block.text), self.faults(above + block.text)
                    self.assertFalse(alone and together, f"{where}: {alone}")
                    above, tried = above + block.text, tried + 1
                elif block.info == "yaml" and block.text.startswith("# prometheus.yml\n"):
                    written = self.directory() / "prometheus.yml"
                    written.write_text(block.text)
                    self.run_tool("promtool", "check", "config", "--syntax-only", written)
                    tried += 1
        self.assertGreater(tried, 15)
        # The check is one.
        self.assertIn("directry: unknown key", self.faults('[store]\ndirectry = "data"\n'))

    def faults(self, text: str) -> str:
        """What `check-config` says of it; nothing where it is right. What it names is another host's."""
        written = self.directory() / "foreshadow.toml"
        written.write_text(text)
        ended = run(binary("foreshadow"), "check-config", "--without-files", written)
        return "" if ended.returncode == 0 else ended.stdout + ended.stderr

    def test_the_stack_takes_the_parameters_it_is_documented_with(self):
        takes = stack_template()["Parameters"]
        needed = {name for name, parameter in takes.items() if "Default" not in parameter}
        stacks = named = 0
        for path in DOCUMENTS:
            given = [given for block in shell(path) for given in stack_calls(block.text)]
            for parameters in given:
                self.assertEqual(wrong_parameters(takes, parameters), [], name_of(path))
                self.assertEqual(needed - set(parameters), set(), f"{name_of(path)}: these have no default")
            # Where there is the command, its parameters also stand between backquotes in running text: `Mode=full`.
            spans = re.findall(r"`([A-Z]\w+)=([^`\s]+)`", path.read_text()) if given else []
            for name, value in spans:
                self.assertEqual(wrong_parameters(takes, {name: value}), [], name_of(path))
            stacks, named = stacks + len(given), named + len(spans)
        self.assertTrue(stacks > 1 and named > 0, f"{stacks} calls and {named} parameters in running text")
        # The check is one.
        self.assertEqual(wrong_parameters(takes, {"Mode": "act"}), ["Mode=act: one of observe, full"])
        self.assertEqual(wrong_parameters(takes, {"Modus": "full"}), ["Modus: no parameter of the template"])
        self.assertEqual(len(wrong_parameters(takes, {"Aggregator": "http://127.0.0.1"})), 1)

    def test_links_lead_somewhere(self):
        for path in DOCUMENTS:
            text = re.sub(r"^ *```.*?^ *```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
            for target in re.findall(r"\]\(([^)\s]+)\)", text):
                if re.match(r"[a-z]+:", target):
                    continue
                file, _, heading = urllib.parse.unquote(target).partition("#")
                found = (path.parent / file).resolve() if file else path
                self.assertTrue(found.exists(), f"{name_of(path)}: {target} is not there")
                if heading and found.suffix == ".md":
                    self.assertIn(heading, anchors(found), f"{name_of(path)}: {target}")

    def test_every_document_is_in_the_index_and_every_picture_is_shown(self):
        index = (REPOSITORY / "docs/README.md").read_text()
        everything = "".join(path.read_text() for path in DOCUMENTS)
        for path in (REPOSITORY / "docs").iterdir():
            if path.suffix == ".md" and path.name != "README.md":
                self.assertIn(f"]({path.name})", index, f"{path.name} is not in docs/README.md")
            if path.suffix in IMAGES:
                self.assertRegex(everything, rf"!\[.+\]\([^)]*{re.escape(path.name)}\)", f"{path.name} is nowhere")


    def test_the_comparison_names_every_way_to_be_measured(self):
        ways = [path.name for path in (REPOSITORY / "docs").glob("*.md") if path.read_text().startswith("# Measured by")]
        self.assertGreater(len(ways), 2)
        for way in ways:
            self.assertIn(f"]({way})", (REPOSITORY / "docs/comparison.md").read_text(), f"{way} is not compared")


def hides(line: str) -> bool:
    """Whether it is a command that markdown shows as a block without saying so: four columns in or more."""
    programs = "foreshadow|foreshadow-agent|curl|cargo|bash|systemctl|aws|kubectl|helm|grpcurl|skopeo|dpkg|rpm|apt|apt-get|openssl"
    return re.match(rf"(?: {{4,}}| *\t)(?:[$#>] )?(?:sudo )?(?:{programs}) ", line) is not None


def stack_calls(text: str):
    """What every `aws cloudformation` of a block gives as parameters."""
    for line in text.replace("\\\n", " ").splitlines():
        if not re.match(r"\s*aws cloudformation ", line):
            continue
        words = shlex.split(line)
        if "--parameter-overrides" in words:
            after = words[words.index("--parameter-overrides") + 1 :]
            given = itertools.takewhile(lambda word: not word.startswith("--"), after)
            yield dict(word.partition("=")[::2] for word in given)


def wrong_parameters(takes: dict, given: dict) -> list:
    """What the template does not take, in words. What stands for a value of the reader's own is not looked at."""
    found = []
    for name, value in given.items():
        parameter = takes.get(name)
        if parameter is None:
            found.append(f"{name}: no parameter of the template")
        elif "…" in value or "$(" in value:
            continue
        elif value not in parameter.get("AllowedValues", [value]):
            found.append(f"{name}={value}: one of {', '.join(parameter['AllowedValues'])}")
        elif not re.fullmatch(parameter.get("AllowedPattern", ".*"), value):
            found.append(f"{name}={value}: does not fit {parameter['AllowedPattern']}")
    return found


def anchors(path: Path) -> set:
    """Headings as links name them."""
    made = set()
    for heading in re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE):
        plain = re.sub(r"[^\w\s-]", "", heading.lower().replace("`", ""))
        made.add(re.sub(r"\s", "-", plain.strip()))
    return made


@functools.cache
def usage(program: str, chain: tuple) -> str:
    return Check().run_tool(binary(program), *(word for word in chain if word != "help"), "--help")


@functools.cache
def subcommands(program: str, chain: tuple) -> frozenset:
    listed = re.search(r"^Commands:\n((?:  .*\n|\n(?=  ))+)", usage(program, chain), re.MULTILINE)
    return frozenset(re.findall(r"^  (\w[\w-]*)", listed[1], re.MULTILINE)) if listed else frozenset()


