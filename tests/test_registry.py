"""Adding a thing is adding a file: what a folder offers is found, and every list shows it."""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, get_args

import pytest

from jobs.ingest.config import IngestConfig
from jobs.train_classifier.config import TrainClassifierConfig
from jobs.train_stack.config import TrainStackConfig
from noisestack.commands import find_commands
from pipeline.attacks.methods.autoattack import ENSEMBLES
from pipeline.attacks.settings import ATTACKS
from pipeline.conditions import CONDITIONS
from pipeline.networks import NETWORKS
from pipeline.registry import entries_of
from pipeline.sampling import SAMPLERS
from pipeline.sources import SOURCES
from pipeline.sources.base import SourceOptions
from pipeline.training.objectives import OBJECTIVES
from pipeline.training.weighting import WEIGHTINGS, WeightingName
from serve.schema import ImageRequest

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Dish:
    """An entry for tests."""

    name: str


@pytest.fixture
def kitchen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package without modules, that can be imported, and is forgotten afterwards."""
    package = tmp_path / "kitchen"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield package
    for name in set(sys.modules) - before:
        if name.startswith("kitchen"):
            del sys.modules[name]


def module(package: Path, name: str, *lines: str) -> None:
    here = __spec__.name if __spec__ else __name__
    assert sys.modules[here].Dish is Dish
    text = "\n".join((f"import sys\nDish = sys.modules[{here!r}].Dish", *lines))
    (package / f"{name}.py").write_text(text + "\n")


def test_entries_come_by_file_name_and_then_as_the_file_lists_them(kitchen: Path) -> None:
    module(kitchen, "soups", "HOT = Dish('hot')", "COLD = Dish('cold')", "number = 3")
    module(kitchen, "bread", "RYE = Dish('rye')")
    module(kitchen, "tools")
    assert list(entries_of("kitchen", [str(kitchen)], Dish)) == ["rye", "hot", "cold"]


def test_what_one_file_imports_from_another_is_one_entry(kitchen: Path) -> None:
    module(kitchen, "bread", "RYE = Dish('rye')")
    module(kitchen, "toast", "from kitchen.bread import RYE")
    assert list(entries_of("kitchen", [str(kitchen)], Dish)) == ["rye"]


def test_two_entries_of_one_name_are_an_error(kitchen: Path) -> None:
    module(kitchen, "bread", "RYE = Dish('rye')")
    module(kitchen, "toast", "RYE = Dish('rye')")
    with pytest.raises(ValueError, match="two files call theirs 'rye'"):
        entries_of("kitchen", [str(kitchen)], Dish)


def test_the_config_offers_the_weightings_that_there_are() -> None:
    assert get_args(WeightingName) == tuple(WEIGHTINGS)
    assert TrainStackConfig.model_fields["weighting"].annotation == WeightingName


def test_guidance_without_a_highest_level_is_one_and_the_same_for_job_and_endpoint() -> None:
    from jobs.generate import GenerateConfig

    high = ImageRequest(prompt="3").guidance_high
    assert GenerateConfig.model_fields["guidance_high"].default == high


def test_sources_and_objectives_are_offered_as_their_files_are() -> None:
    assert IngestConfig.model_fields["source"].annotation == Literal[tuple(SOURCES)]
    loss = TrainClassifierConfig.model_fields["adversarial_loss"].annotation
    assert loss == Literal[tuple(OBJECTIVES)]
    heeded = {key for entry in OBJECTIVES.values() for key in entry.heeds}
    assert heeded <= set(TrainClassifierConfig.model_fields)
    columns = {key for entry in SOURCES.values() for key in entry.columns}
    assert columns <= {field.name for field in fields(SourceOptions)}


def test_a_job_is_a_command_by_its_file_and_one_without_a_summary_is_none(tmp_path: Path) -> None:
    for name, text in {
        "jobs/count_rows.py": 'COMMAND = Command(Config, main, summary="how many rows")\n',
        "jobs/ingest/__init__.py": 'COMMAND = Command(Config, main, summary="data")\n',
        "jobs/common/__init__.py": "import torch\n",
        "serve/command.py": 'COMMAND = Command(Config, main, summary="answers")\n',
        "noisestack/configs.py": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert list(find_commands(tmp_path).items()) == [
        ("ingest", ("jobs.ingest", "data")),
        ("count-rows", ("jobs.count_rows", "how many rows")),
        ("serve", ("serve.command", "answers")),
    ]


# Registered names that are also plain words of other things.
_WORDS = {"none", "gaussian", "label", "stage", "folder", "parquet", "square", "uniform"}
_SPELLING = ("pipeline/report/reading.py", "ascent")  # how a name is written, and no choice


def test_nothing_outside_a_files_own_entry_tells_variants_apart_by_name() -> None:
    kinds = (SAMPLERS, ATTACKS, SOURCES, NETWORKS, OBJECTIVES, CONDITIONS, WEIGHTINGS, ENSEMBLES)
    names = {name for kind in kinds for name in kind} - _WORDS
    asked = re.compile(rf'(?:[!=]=|\bin) [(\[{{]?"({"|".join(names)})"')
    again = re.compile(rf'Literal\[[^\]]*"({"|".join(names)})"')
    found = {
        (str(path.relative_to(ROOT)), match[1])
        for package in ("pipeline", "jobs", "serve", "noisestack")
        for path in (ROOT / package).rglob("*.py")
        for pattern in (asked, again)
        for match in pattern.finditer(path.read_text(encoding="utf-8"))
    }
    assert found == {_SPELLING}
