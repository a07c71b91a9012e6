"""CONTRIBUTING.md: each of its seven files, added to a copy as the page says, works at once."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^`(\S+\.py)`\n\n```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
KINDS = ("sampler", "attack", "source", "network", "objective", "condition", "job")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What came of using each thing, in a copy of the house; "" where it worked."""
    copy = tmp_path_factory.mktemp("house")
    for package in ("pipeline", "jobs", "serve", "noisestack", "configs", "tests"):
        shutil.copytree(
            ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    for path, text in FILES.items():
        assert not (copy / path).exists(), f"{path} is there already"
        (copy / path).write_text(text, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "tests/contributed.py", str(copy / "out")],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    found: dict[str, str] = json.loads(ran.stdout.splitlines()[-1])
    return found


def test_the_page_shows_a_whole_file_of_each_kind_and_no_other_code() -> None:
    assert len(FILES) == len(KINDS)
    assert PAGE.count("```python") == len(KINDS)
    headings = re.findall(r"^### An? (\w+)$", PAGE, re.MULTILINE)
    assert tuple(headings) == KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_thing_is_a_new_file_and_works_at_once(outcomes: dict[str, str], kind: str) -> None:
    assert outcomes[kind] == "", outcomes[kind]


def test_the_links_and_folders_that_the_page_names_are_there() -> None:
    named = re.findall(r"`((?:pipeline|jobs|tests|serve|noisestack)/[\w/.]*)`", PAGE)
    assert [path for path in named if path not in FILES and not (ROOT / path).exists()] == []
