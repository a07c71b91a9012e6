"""The README and the docs against what is on disk: trees, paths, every command, every link."""

import importlib
import re
import shlex
import subprocess
from pathlib import Path, PurePosixPath

import pytest

from noisestack.__main__ import COMMANDS
from noisestack.flags import flag_of, read_config

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(["README.md", *(str(p.relative_to(ROOT)) for p in ROOT.glob("docs/*.md"))])
PACKAGES = ("pipeline", "jobs", "serve", "noisestack", "benchmarks")


def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


def blocks_of(text):
    """The insides of the fenced blocks."""
    return re.findall(r"^```[a-z]*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def code_lines(text):
    """Every line of code: of the fenced blocks, continued lines joined, and `inline`."""
    fenced = "\n".join(blocks_of(text)).replace("\\\n", " ").splitlines()
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return fenced + re.findall(r"`([^`\n]+)`", prose)


@pytest.fixture(scope="module")
def tracked():
    """Every file and folder that git knows of, as paths from the root."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    files = [PurePosixPath(line) for line in listed if line]
    return {str(path) for file in files for path in (file, *file.parents)} - {"."}


def tree_in(page):
    """The tree on a page, as {path from the root: what is said about it}.

    Each line is a name, two or more spaces, and a comment; what is indented lies in the folder
    above.
    """
    (block,) = blocks_of(
        re.split(r"^#+ The tree\n", text_of(page), flags=re.M)[1].split("\n## ")[0]
    )
    found, folders = {}, []
    for line in block.splitlines():
        indent, name, comment = re.fullmatch(r"( *)(\S+)(?: {2,}(.+))?", line).groups()
        folders = [*folders[: len(indent) // 2], name.rstrip("/")]
        found["/".join(folders)] = comment
    return found


@pytest.mark.parametrize("page", ["README.md", "docs/tree.md"])
def test_all_that_the_trees_name_is_there_and_is_explained(page, tracked):
    tree = tree_in(page)
    assert set(tree) <= tracked
    assert [path for path, comment in tree.items() if not comment] == []


def test_the_long_tree_names_all_that_stands_at_the_top_and_in_the_packages(tracked):
    top = {path for path in tracked if "/" not in path}
    parts = {
        path
        for path in tracked
        if path.startswith(tuple(f"{package}/" for package in PACKAGES))
        and path.count("/") == 1
        and not path.endswith(("__init__.py", "py.typed"))
    }
    assert (top | parts) - set(tree_in("docs/tree.md")) == set()


def test_the_readme_is_short_and_its_tree_names_every_folder_at_the_top(tracked):
    assert len(text_of("README.md").splitlines()) <= 150
    tree = tree_in("README.md")
    assert len(tree) <= 25
    assert {path.partition("/")[0] for path in tracked if "/" in path} - set(tree) == set()


def paths_named(text):
    """(path, whether it was dotted): what a page's code names of the repository."""
    rooms = "|".join((*PACKAGES, "tests", "configs", "docs", "deploy", "findings"))
    for line in code_lines(text):
        for path in re.findall(rf"(?<![\w/.~-])(?:{rooms})/[\w./-]*\w", line):
            yield path, False
        for dotted in re.findall(
            rf"(?<![\w/.:-])(?:{'|'.join(PACKAGES)}|docs)(?:\.[a-z_]\w*)+", line
        ):
            if dotted.rpartition(".")[2] not in ("html", "py", "typed", "yaml"):  # a file's name
                yield dotted.replace(".", "/"), True


def test_paths_and_modules_are_found_in_code_alone():
    named = (
        "`pipeline/a.py`, `python -m jobs.b`, serve/c, `runs/jobs/d`, `jobs.py`, `noisestack.e.F`"
    )
    assert set(paths_named(named)) == {
        ("pipeline/a.py", False),
        ("jobs/b", True),
        ("noisestack/e", True),
    }


@pytest.mark.parametrize("page", PAGES)
def test_every_path_and_module_that_is_named_exists(page, tracked):
    modules = {path.removesuffix(".py") for path in tracked if path.endswith(".py")}
    missing = set()
    for path, dotted in paths_named(text_of(page)):
        # A dotted name may end in what a module holds: `pipeline.stack.Stack.fresh`.
        inside = dotted and {str(parent) for parent in PurePosixPath(path).parents} & modules
        if path not in tracked | modules and not inside:
            missing.add(path)
    assert missing == set()


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_that_is_named_exists(page):
    targets = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE))
    named = {
        target
        for line in code_lines(text_of(page))
        for target in re.findall(r"^make ([a-z-]+)", line)
    }
    assert named <= targets
    if page == "README.md":
        assert {"quickstart", "test"} <= named


def calls_of(line):
    """(module, arguments) of each of our commands in a line of shell."""
    name = "|".join(COMMANDS)
    for found in re.finditer(rf"\bnoisestack ({name})\b([^|&;#>]*)", line):
        yield COMMANDS[found[1]][0], shlex.split(found[2])
    for found in re.finditer(r"\bpython -m ((?:jobs|serve)\.\w+)([^|&;#>]*)", line):
        yield found[1], shlex.split(found[2])


@pytest.mark.parametrize("page", PAGES)
def test_every_command_and_flag_that_is_named_exists(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    for line in code_lines(text_of(page)):
        for word in re.findall(r"^noisestack ([a-z-]+)", line):
            assert word in COMMANDS, line
        for module, arguments in calls_of(line):
            command = importlib.import_module(module).COMMAND
            keys = [flag_of(key) for key in command.config_class.model_fields]
            known = {"--config", "--help", *keys, *(f"--no-{key[2:]}" for key in keys)}
            flags = {word.partition("=")[0] for word in arguments if word.startswith("--")}
            assert flags <= known, line


@pytest.mark.parametrize("page", PAGES)
def test_every_command_that_is_shown_in_full_is_accepted(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    for block in blocks_of(text_of(page)):
        for line in block.replace("\\\n", " ").splitlines():
            if not re.match(r"noisestack |python -m |ray job submit ", line):
                continue
            for module, arguments in calls_of(line):
                if "--help" not in arguments:
                    read_config(importlib.import_module(module).COMMAND.config_class, arguments, "")


@pytest.mark.parametrize("page", PAGES)
def test_every_link_and_picture_is_there(page, tracked):
    targets = re.findall(r"\]\(([^)\s]+)\)", text_of(page))
    missing = []
    for target in targets:
        path = target.partition("#")[0]
        if path and "://" not in path:
            place = (ROOT / page).parent.joinpath(path).resolve().relative_to(ROOT)
            missing += [target] if place.as_posix() not in tracked else []
    assert missing == []
