"""The wheel, which must work outside the checkout, and what the project says of itself."""

import email
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from datetime import date
from pathlib import Path

import pytest
import yaml

import noisestack

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PACKAGES = ("pipeline", "jobs", "serve", "noisestack")
DATA = (".html", ".yaml", ".typed")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built by the backend that pyproject.toml names, from a copy of what git would hand out."""
    place = tmp_path_factory.mktemp("wheel")
    source, built = place / "source", place / "built"
    source.mkdir()
    built.mkdir()
    for name in (*PACKAGES, "configs"):
        skipped = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=skipped)
    (source / "docs").mkdir()
    checkers = [f"docs/check_{what}.py" for what in ("perturbations", "certificates")]
    for name in ("pyproject.toml", "README.md", "LICENSE", *checkers):
        shutil.copy(ROOT / name, source / name)
    code = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run(
        [sys.executable, "-c", code, str(built)], cwd=source, check=True, capture_output=True
    )
    (path,) = built.iterdir()
    return path


def test_the_wheel_holds_every_module_page_and_config_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as opened:
        names = {n for n in opened.namelist() if ".dist-info/" not in n}
    ours = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.suffix in (".py", *DATA) and path.is_file()
    }
    ours |= {f"noisestack/files/configs/{path.name}" for path in (ROOT / "configs").iterdir()}
    assert names == ours


def test_the_wheel_says_its_version_licence_and_python(wheel):
    with zipfile.ZipFile(wheel) as opened:
        (name,) = [n for n in opened.namelist() if n.endswith(".dist-info/METADATA")]
        told = email.message_from_bytes(opened.read(name))
    assert told["Version"] == noisestack.__version__
    assert told["License-Expression"] == "Apache-2.0"
    assert told["Requires-Python"] == ">=3.11"


def test_outside_the_checkout_the_wheel_lists_its_configs_and_reads_one_by_name(wheel, tmp_path):
    unpacked = tmp_path / "site"
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(unpacked)
    code = (
        "import sys; from noisestack.__main__ import main; import noisestack.shipped as s; "
        "assert s.FILES.is_relative_to(sys.argv[1]), s.FILES; "
        "assert main(['configs']) == 0; assert main(['configs', 'check_perturbations.py']) == 0; "
        "from noisestack.configs import ConfigsConfig; from noisestack.flags import read_config\n"
        "try: read_config(ConfigsConfig, ['--config', 'stack_digits'], '')\n"
        "except Exception as error: print('READ', error)"
    )
    ran = subprocess.run(
        # -P and the path: neither this checkout nor an editable install of it comes first.
        [sys.executable, "-P", "-c", code, str(unpacked)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(unpacked), "PATH": os.defpath},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "\nfashion_mnist  " in ran.stdout
    assert "FAULTS = []" in ran.stdout
    assert re.search(r"^READ .*files/configs/stack_digits.yaml: .*line 2", ran.stdout, re.MULTILINE)


def test_the_version_stands_in_one_place_and_the_citation_and_the_changelog_know_it():
    assert PROJECT["dynamic"] == ["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == noisestack.__version__
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.findall(r"^## \[(\d[^]]*)\] - (\S+)$", changelog, re.MULTILINE)[0]
    assert newest == (citation["version"], str(citation["date-released"]))


def test_the_citation_has_what_the_format_demands_and_no_key_that_it_does_not_know():
    """Against the schema of Citation File Format 1.2.0: its keys, and what they hold."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"authors", "cff-version", "message", "title"} <= set(citation)
    assert set(citation) <= {
        "abstract", "authors", "cff-version", "commit", "contact", "date-released", "doi",
        "identifiers", "keywords", "license", "license-url", "message", "preferred-citation",
        "references", "repository", "repository-artifact", "repository-code", "title", "type",
        "url", "version",
    }  # fmt: skip
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    assert citation["license"] == PROJECT["license"]
    assert isinstance(citation["date-released"], date)
    of_a_person = {"family-names", "given-names", "name-particle", "alias", "affiliation", "orcid"}
    of_a_group = {"name", "alias", "website", "address", "city", "country", "orcid", "email"}
    for author in citation["authors"]:
        assert set(author) <= of_a_person or set(author) <= of_a_group
        assert "name" in author or "family-names" in author


def test_the_pythons_that_are_tested_are_those_that_are_said_to_work():
    tox = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["tox"]
    said = [
        entry.rpartition(" ")[2]
        for entry in PROJECT["classifiers"]
        if re.fullmatch(r"Programming Language :: Python :: 3\.\d+", entry)
    ]
    assert said == tox["env_list"] == ["3.11", "3.12", "3.13"]
    assert PROJECT["requires-python"] == f">={said[0]}"
