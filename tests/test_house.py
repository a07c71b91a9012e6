"""What keeps the code easy to read: short files, short functions of jobs, no attack by name."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted(
    path
    for package in ("pipeline", "jobs", "serve", "noisestack")
    for path in (ROOT / package).rglob("*.py")
)
LONGEST_FILE, LONGEST_FUNCTION = 300, 60  # lines


def too_long(source: str) -> bool:
    """Whether a file is longer than is allowed, and its docstring gives no reason."""
    reason = re.search(
        r"(?:^|(?<=[.!?]\s))Over 300 lines: \w", ast.get_docstring(ast.parse(source)) or "", re.M
    )
    return len(source.splitlines()) > LONGEST_FILE and not reason


def long_functions(source: str) -> list[str]:
    """The functions of a file that are longer than is allowed, from `def` to their last line."""
    return [
        f"{node.name} ({node.end_lineno - node.lineno + 1} lines)"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - node.lineno >= LONGEST_FUNCTION
    ]


def attacks_told_apart(source: str) -> list[str]:
    """The names of attacks' classes that a file asks `isinstance` for."""
    tree = ast.parse(source)
    of_attacks = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").startswith(("pipeline.attacks", "pipeline.perturbation."))
        for alias in node.names
    }
    asked = {
        name.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance"
        for name in ast.walk(node.args[1])
        if isinstance(name, ast.Name)
    }
    return sorted(asked & of_attacks)


def test_no_file_is_over_300_lines_without_a_reason():
    listed = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in FILES}
    assert [name for name, source in listed.items() if too_long(source)] == []


def test_no_function_of_a_job_is_over_60_lines():
    listed = {
        str(path.relative_to(ROOT)): long_functions(path.read_text(encoding="utf-8"))
        for path in FILES
        if path.is_relative_to(ROOT / "jobs")
    }
    assert {name: functions for name, functions in listed.items() if functions} == {}


def test_neither_the_perturber_nor_its_job_tells_attacks_apart():
    files = [ROOT / "pipeline/perturbation/perturber.py", *(ROOT / "jobs/perturb").rglob("*.py")]
    assert len(files) > 3
    told = {str(file.relative_to(ROOT)): attacks_told_apart(file.read_text()) for file in files}
    assert {name: classes for name, classes in told.items() if classes} == {}


def test_an_attack_that_is_told_apart_is_seen():
    source = """
from pipeline.attacks.methods.own import OwnAttack as Own
from pipeline.errors import UserError

def run(attack, error):
    if isinstance(error, UserError):
        return None
    return isinstance(attack, (Own, int))
"""
    assert attacks_told_apart(source) == ["Own"]
    assert attacks_told_apart(source.replace("(Own, int)", "int")) == []


@pytest.mark.parametrize(
    ("docstring", "lines", "expected"),
    [
        ("A noun.", 300, False),
        ("A noun.", 301, True),
        ("A noun.\n\nOver 300 lines: one table that is read as a whole.", 301, False),
        ("A noun. Over 300 lines: one table.", 301, False),
        ("A noun that says Over 300 lines: nothing.", 301, True),
    ],
)
def test_a_long_file_needs_a_sentence_with_its_reason(docstring, lines, expected):
    source = f'"""{docstring}"""\n'
    assert too_long(source + "x = 1\n" * (lines - source.count("\n"))) is expected


@pytest.mark.parametrize("lines", [60, 61])
def test_a_function_is_counted_from_its_def_to_its_end(lines):
    source = "@f\ndef long():\n" + "    x = 1\n" * (lines - 1) + "\n\ny = 1\n"
    assert bool(long_functions(source)) is (lines > 60)
