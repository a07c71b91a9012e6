"""`verify` of certificate sets: every bound counted again, rows voted on again, faults named."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from certificate_faults import write_certificates
from digit_models import fitted_network
from digit_set import CLASSES
from perturbation_faults import replace, write_inputs
from planted_sets import change_cell, manifest_file, rehash, replant, without_row

from noisestack.__main__ import main
from pipeline.classifier import save_classifier
from pipeline.formats.certificate.set import votes_of
from pipeline.formats.output import read_json

PART = "part-00000.parquet"
Change = Callable[[pa.Table], pa.Table]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("certificates")
    write_inputs(path)
    write_certificates(path, path / "fixed")
    write_certificates(path, path / "radii", radii=(0.1, 0.2), noise="lattice")
    write_certificates(path, path / "tolerance", tolerance=0.2)
    return path


@pytest.fixture
def copied(inputs: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(inputs / "fixed", tmp_path / "set"))


def verify(*arguments: object) -> int:
    return main(["verify", *map(str, arguments)])


def models(inputs: Path) -> list[object]:
    return ["--dataset", inputs / "digits", "--classifier", inputs / "classifier"]


@pytest.mark.parametrize("name", ["fixed", "radii", "tolerance"])
def test_an_honest_set_holds_and_so_do_the_votes_that_are_cast_again(
    inputs: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify(inputs / name, *models(inputs), "--redraw", 3, "--redraw-seed", 11) == 0
    fine = "ok: certificate set, 60 rows in 3 shards; "
    assert capsys.readouterr().out == (f"{fine}they are the dataset's, and 3 were voted on again\n")
    assert verify(inputs / name) == 0
    assert capsys.readouterr().out == (
        f"{fine}no vote was cast again, which takes the dataset and what was smoothed\n"
    )


def cell(column: str, change: Callable[[Any], Any]) -> Change:
    return lambda table: change_cell(column, 7, change(table[column][7].as_py()))(table)


def moved_vote(table: pa.Table) -> pa.Table:
    """Row 7 with one vote of its first draws moved to the class that had fewest."""
    votes = votes_of(table)
    votes[7, table["predicted"][7].as_py()] -= 1
    votes[7, votes[7].argmin()] += 1
    return with_votes(table, votes)


def lost_vote(table: pa.Table) -> pa.Table:
    votes = votes_of(table)
    votes[7, table["predicted"][7].as_py()] -= 1
    return with_votes(table, votes)


def with_votes(table: pa.Table, votes: Any) -> pa.Table:
    kind = table.schema.field("n0_counts").type
    flat = pa.array(votes.reshape(-1), pa.int32())
    return replace(table, "n0_counts", pa.FixedSizeListArray.from_arrays(flat, type=kind))


def one_vote_more(table: pa.Table) -> pa.Table:
    return cell("n_a", lambda old: old + 1)(table)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (one_vote_more, "p_lower is not the bound of n and n_a"),
        (cell("p_lower", lambda old: old + 1e-6), "p_lower is not the bound of n and n_a"),
        (cell("radius", lambda old: old + 2e-6), "radius does not follow from n and n_a"),
        (cell("radius", lambda old: float("nan")), "radius does not follow from n and n_a"),
        (cell("abstained", lambda old: not old), "abstained does not follow from p_lower"),
        (cell("n", lambda old: old + 1), "n or n_a is out of range"),
        (cell("n", lambda old: old - 1), "the rule does not let a row stop with these counts"),
        (cell("draws", lambda old: old - 1), "draws is not n0 + n"),
        (cell("predicted", lambda old: (old + 1) % 10), "predicted is not the class with most"),
        (lost_vote, "n0_counts do not sum to n0"),
        (cell("sigma", lambda old: 0.5), "sigma is not the set's"),
        (cell("seed", lambda old: old + 1), "seed is not the set's"),
        (cell("label", lambda old: 10), "label 10 lies outside 0 to 9"),
    ],
)
def test_a_planted_fault_is_found_in_its_row(
    copied: Path, change: Change, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    replant(copied, PART, change)
    assert verify(copied) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith(f"{PART}: row 7: {told}") for line in lines)


def test_a_missing_row_and_a_changed_figure_are_found(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = read_json(manifest_file(copied))
    manifest["curve"][0]["right"] += 1
    manifest["counts"]["abstained"] -= 1
    manifest["average_certified_radius"] += 0.01
    rehash(copied, manifest)
    assert verify(copied) == 1
    told = capsys.readouterr().out
    for words in ("says of radius 0 ", "says counts abstained", "says average_certified_radius"):
        assert words in told
    replant(copied, PART, without_row(7))
    assert verify(copied) == 1
    assert "row is 8 where 7 follows" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("alpha", 0.7, "alpha must lie between 0 and 1/2"),
        ("ceiling", 3.0, "its certificate's ceiling is 3.0, not"),
        ("shortfall", 0.1, "its certificate's shortfall is 0.1, not"),
    ],
)
def test_a_manifest_whose_certificate_contradicts_itself_is_a_fault(
    copied: Path, key: str, value: float, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = read_json(manifest_file(copied))
    manifest["certificate"][key] = value
    rehash(copied, manifest)
    assert verify(copied) == 1
    assert told in capsys.readouterr().out


def test_votes_that_were_never_cast_are_found_by_casting_them_again(
    inputs: Path, copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of one row's columns agree with each other, and none with the base."""
    shown = read_json(copied / "manifest.json")["counts"]

    def change(table: pa.Table) -> pa.Table:
        votes, names = votes_of(table), ("predicted", "n_a", "p_lower", "radius", "abstained")
        votes[7] = votes[8]
        for name in names:
            values = table[name].to_pylist()
            values[7] = values[8]
            table = replace(table, name, values)
        return with_votes(table, votes)

    replant(copied, PART, change)
    assert read_json(copied / "manifest.json")["counts"] == shown
    verify(copied, *models(inputs), "--redraw", 60)
    assert "row 7, drawn again: n_a is" in capsys.readouterr().out
    replant(copied, PART, cell("clean_sha256", lambda old: old[::-1]))
    assert verify(copied, *models(inputs), "--redraw", 0) == 1
    assert "clean_sha256 is not the picture's: 1 times, first row 7" in capsys.readouterr().out


def test_a_set_of_another_model_is_refused_in_one_line(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_classifier(tmp_path / "other", fitted_network(steps=1), CLASSES, {})
    arguments = ["--dataset", inputs / "digits", "--classifier", tmp_path / "other"]
    assert verify(inputs / "fixed", *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "this is not the base that was smoothed: classifier_sha256 is" in line


def _claims_all(manifest: dict[str, Any]) -> None:
    """Before the point of radius 0 that is true stands one by which every row is right."""
    manifest["curve"].insert(0, {**manifest["curve"][0], "right": 60, "accuracy": 1.0})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_claims_all, "says of radius 0 "),
        (lambda m: m["curve"].append(m["curve"][0]), "has radius 0 more than once in its curve"),
        (lambda m: m.update(draws_a_row=12.0), "says draws_a_row 12.0, and its rows give 120"),
        (lambda m: m["certificate"].update(states=["proved"]), "states what one by gaussian noise"),
        (lambda m: m["certificate"].update(noise="none"), "there is no noise 'none'"),
        (lambda m: m["certificate"].update(rule="none"), "there is no rule 'none'"),
        (lambda m: m["certificate"].pop("radii"), "its certificate lacks or spoils something"),
        (lambda m: m.pop("average_certified_radius"), "lacks or spoils a figure"),
        (lambda m: m.pop("curve"), "lacks or spoils a figure"),
        (lambda m: m["curve"][0].pop("radius"), "lacks or spoils a figure"),
        (lambda m: m.update(curve=7), "lacks or spoils a figure"),
        (
            lambda m: m["warnings"].append({"code": "ceiling", "count": 5, "of": 60, "text": ""}),
            "has a warning, ceiling, for which its rows give no reason",
        ),
        (lambda m: m["dataset"].update(shape=[4, 4, 4]), "another shape than the dataset's"),
    ],
)
def test_a_manifest_that_was_edited_is_a_fault_with_its_hashes_made_anew(
    inputs: Path,
    copied: Path,
    change: Callable[[dict[str, Any]], object],
    told: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    manifest = read_json(manifest_file(copied))
    change(manifest)
    rehash(copied, manifest)
    assert verify(copied, *models(inputs)) == 1
    assert told in capsys.readouterr().out


def test_a_warning_that_was_taken_out_is_a_fault(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = write_certificates(inputs, tmp_path / "few", n=20, sigma=0.02)
    assert [warning["code"] for warning in made["warnings"]] == ["ceiling"]
    rehash(tmp_path / "few", {**read_json(tmp_path / "few" / "manifest.json"), "warnings": []})
    assert verify(tmp_path / "few") == 1
    assert "manifest.json: leaves out a warning: " in capsys.readouterr().out


def test_a_sigma_that_is_no_number_is_refused_in_one_line(
    inputs: Path, copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = read_json(manifest_file(copied))
    manifest["certificate"]["sigma"] = "much"
    rehash(copied, manifest)
    assert verify(copied, *models(inputs)) == 2
    assert "is not a certificate set's" in capsys.readouterr().err
