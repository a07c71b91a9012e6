"""The stand-alone checker accepts honest sets and finds every planted fault, without our code."""

import ast
import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from certificate_faults import write_certificates
from digit_models import digit_network
from perturbation_faults import plant, replace, write_inputs

from pipeline.formats.certificate.set import votes_of
from pipeline.formats.output import read_json, write_json

CHECKER = Path(__file__).resolve().parent.parent / "docs" / "check_certificates.py"
PART = "part-00000.parquet: "
SETS: dict[str, dict[str, Any]] = {
    "fixed": {},
    "radii": {"radii": (0.1, 0.2)},
    "lattice": {"tolerance": 0.2, "noise": "lattice"},
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("check")
    write_inputs(path)
    for name, change in SETS.items():
        write_certificates(path, path / name, **change)
    return path


@pytest.fixture
def copied(inputs: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(inputs / "fixed", tmp_path / "set"))


Run = Callable[..., tuple[int, list[str], str]]


@pytest.fixture
def run(inputs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the script in this process: exit code, faults without the word, last line."""

    def run(path: Path, *more: str) -> tuple[int, list[str], str]:
        words = [str(word) for word in (CHECKER, path, inputs / "digits", *more)]
        monkeypatch.setattr(sys, "argv", words)
        monkeypatch.setattr(sys, "path", list(sys.path))
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(CHECKER), run_name="__main__")
        said = capsys.readouterr()
        assert said.err == ""
        *faults, last = said.out.splitlines()
        return int(end.value.code or 0), [line.removeprefix("FAULT ") for line in faults], last

    return run


@pytest.mark.parametrize("words", [[], ["--help"], ["a", "b", "c", "d"]])
def test_without_its_two_directories_it_says_how_it_is_called(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [str(CHECKER), *words])
    with pytest.raises(SystemExit, match=r"check_certificates\.py SET DATASET"):
        runpy.run_path(str(CHECKER), run_name="__main__")


def test_the_checker_has_some_140_lines_and_imports_nothing_of_ours() -> None:
    text = CHECKER.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 142
    imported = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).split(".")[0])
    assert imported == {
        "hashlib",
        "importlib",
        "json",
        "numpy",
        "pathlib",
        "pyarrow",
        "scipy",
        "sys",
    }


@pytest.mark.parametrize("name", SETS)
def test_an_honest_set_is_accepted_with_and_without_votes_of_our_own(
    inputs: Path, name: str, run: Run
) -> None:
    for more in ([], [f"{__name__}:base"]):
        code, faults, last = run(inputs / name, *more)
        assert (code, faults) == (0, [])
        assert last.startswith("0 faults; sigma 0.25, alpha 0.001; rows 60 right ")


def base() -> Callable[[Any], Any]:
    """What a person would write around their own model."""
    import torch

    network = digit_network().eval()
    with torch.no_grad():
        return lambda x: network(torch.from_numpy(x)).detach().numpy()


def cell(column: str, change: Callable[[Any], Any]) -> Callable[[pa.Table], pa.Table]:
    def changed(table: pa.Table) -> pa.Table:
        values = table[column].to_pylist()
        values[7] = change(values[7])
        return replace(table, column, values)

    return changed


@pytest.mark.parametrize(
    ("column", "change", "told"),
    [
        ("id", lambda old: old + "x", "id"),
        ("label", lambda old: (old + 1) % 10, "label"),
        ("clean_sha256", lambda old: old[::-1], "clean_sha256"),
        ("predicted", lambda old: (old + 1) % 10, "predicted"),
        ("n_a", lambda old: old - 1, "p_lower"),
        ("n", lambda old: old - 1, "n"),
        ("p_lower", lambda old: old + 1e-6, "p_lower"),
        ("p_lower", lambda old: float("nan"), "p_lower"),
        ("radius", lambda old: old + 2e-6, "radius"),
        ("abstained", lambda old: not old, "abstained"),
        ("draws", lambda old: old + 1, "draws"),
        ("seed", lambda old: old + 1, "seed"),
        ("sigma", lambda old: 2 * old, "sigma"),
        ("split", lambda old: "train", "split"),
    ],
)
def test_a_planted_fault_is_found_and_its_row_named(
    copied: Path, column: str, change: Callable[[Any], Any], told: str, run: Run
) -> None:
    plant(copied, cell(column, change))
    code, faults, _ = run(copied)
    assert code == 1
    assert f"{PART}{told}: 1, first row 7" in faults


def test_a_changed_figure_a_missing_row_and_another_file_are_found(copied: Path, run: Run) -> None:
    manifest = read_json(copied / "manifest.json")
    manifest["curve"][1]["right"] -= 1
    manifest["curve"][0]["interval_95"][0] += 0.001
    manifest["average_certified_radius"] += 0.001
    manifest["shards"][1]["sha256"] = "0" * 64
    write_json(copied / "manifest.json", manifest)
    code, faults, _ = run(copied)
    assert code == 1
    assert len(faults) == 4
    assert sum("the curve at radius" in line for line in faults) == 2
    plant(copied, lambda table: table.filter(pa.array([row != 7 for row in range(25)])))
    assert "rows: not exactly once: 1, first row 7" in run(copied)[1]


@pytest.mark.parametrize("change", [{"noise": "xx"}, {"noise": "lattice"}, {"shortfall": 1e-10}])
def test_a_noise_that_is_none_or_lacks_its_shortfall_is_found(
    copied: Path, change: dict[str, Any], run: Run
) -> None:
    manifest = read_json(copied / "manifest.json")
    manifest["certificate"] |= change
    write_json(copied / "manifest.json", manifest)
    assert "manifest: noise and its shortfall" in run(copied)[1]


def test_a_curve_that_was_taken_out_is_found(copied: Path, run: Run) -> None:
    manifest = read_json(copied / "manifest.json")
    write_json(copied / "manifest.json", manifest | {"curve": []})
    assert run(copied)[:2] == (1, ["manifest: no curve"])


def test_votes_that_were_made_up_are_unlikely_by_votes_of_our_own(
    copied: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every row claims all votes, and class 0: all columns agree."""
    manifest = read_json(copied / "manifest.json")
    best, ceiling = 0.001 ** (1 / 100), manifest["certificate"]["ceiling"]

    def change(table: pa.Table) -> pa.Table:
        votes = 0 * votes_of(table)
        votes[:, 0] = 20
        kind = table.schema.field("n0_counts").type
        flat = pa.array(votes.reshape(-1), pa.int32())
        table = replace(table, "n0_counts", pa.FixedSizeListArray.from_arrays(flat, type=kind))
        rows = table.num_rows
        for name, value in {
            "predicted": 0, "n_a": 100, "p_lower": best, "radius": ceiling, "abstained": False,
        }.items():  # fmt: skip
            table = replace(table, name, [value] * rows)
        return table

    plant(copied, change)
    assert not any(line.startswith(PART) for line in run(copied)[1])
    assert any("of 1000 votes of our own" in line for line in run(copied, f"{__name__}:base")[1])
