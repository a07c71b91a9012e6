"""The stand-alone checker accepts honest sets and finds every planted fault, without our code."""

import ast
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from perturbation_faults import plant, replace, settings, write_inputs, write_set

from pipeline.attacks.base import Norm
from pipeline.formats.output import read_json, write_json
from pipeline.formats.perturbation.set import CLASSIFIER_FILE
from pipeline.formats.quarantine import BadRow, write_quarantine
from pipeline.formats.set_manifest import MANIFEST_FILE
from pipeline.formats.shard import image_column, images_of
from pipeline.pictures import picture_hashes
from pipeline.user_models.onnx_export import export_classifier

CHECKER = Path(__file__).resolve().parent.parent / "docs" / "check_perturbations.py"
SETS = {
    "linf": settings(),
    "l2": settings(norm=Norm.L2, eps_levels=128),
    "l1": settings(norm=Norm.L1, eps_levels=700),
    "next": settings(target="next", eps_levels=60),
}


def edit_manifest(path, change):
    manifest = read_json(path / MANIFEST_FILE)
    change(manifest)
    write_json(path / MANIFEST_FILE, manifest)


def say_accuracies(manifest):
    """What the job's manifest has, and `write_set` leaves out."""
    counts = manifest["counts"]
    manifest["clean_accuracy"] = counts["clean_right"] / counts["rows"]
    manifest["robust_accuracy"] = (counts["clean_right"] - counts["successes"]) / counts["rows"]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    path = tmp_path_factory.mktemp("perturbations")
    _, classifier = write_inputs(path)
    sha256 = export_classifier(classifier, path / CLASSIFIER_FILE)
    for name, attack in SETS.items():
        write_set(path, path / name, attack)
        shutil.copy(path / CLASSIFIER_FILE, path / name)
        edit_manifest(path / name, say_accuracies)
        edit_manifest(path / name, lambda m: m["model"].update(onnx_sha256=sha256))
    return path


@pytest.fixture
def copied(inputs, tmp_path):
    return Path(shutil.copytree(inputs / "linf", tmp_path / "set"))


@pytest.fixture
def run(capsys, monkeypatch):
    """Runs the script in this process, where its imports are made already."""

    def run(path, inputs, *more):
        """The exit code, the lines of faults without the word, and the last line."""
        words = [str(word) for word in (CHECKER, path, inputs / "digits", *more)]
        monkeypatch.setattr(sys, "argv", words)
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(CHECKER), run_name="__main__")
        said = capsys.readouterr()
        assert said.err == ""
        return end.value.code, *lines_of(said.out)

    return run


def run_alone(path, inputs):
    """The same by a Python that has nothing of ours, in a folder of its own."""
    done = subprocess.run(
        [sys.executable, "-I", "-W", "error", CHECKER, path, inputs / "digits"],
        capture_output=True,
        text=True,
        cwd="/",
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, *lines_of(done.stdout)


def lines_of(printed):
    *faults, last = printed.splitlines()
    assert all(line.startswith("FAULT ") for line in faults)
    return [line.removeprefix("FAULT ") for line in faults], last


def test_the_checker_has_some_80_lines_and_imports_nothing_of_ours():
    text = CHECKER.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 85
    imported = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module)
    assert imported == {"hashlib", "json", "numpy", "onnxruntime", "pathlib", "pyarrow", "sys"}


@pytest.mark.parametrize("name", SETS)
def test_an_honest_set_is_accepted_and_its_accuracies_are_told(inputs, name):
    code, faults, last = run_alone(inputs / name, inputs)
    assert (code, faults) == (0, [])
    manifest = read_json(inputs / name / MANIFEST_FILE)
    assert manifest["counts"]["successes"] > 5
    assert f"clean_accuracy {manifest['clean_accuracy']:.6g}" in last
    assert f"robust_accuracy {manifest['robust_accuracy']:.6g}" in last
    norm, eps = SETS[name].norm, SETS[name].eps_levels
    assert last.startswith(f"0 faults; {norm} {eps}/255; rows 60 ")


def one_level_too_far(table):
    """Row 7 with one value 41 levels away and the others as they were clean."""
    clean, stored = images_of(table), images_of(table, "adversarial").copy()
    stored[7] = clean[7]
    value = int(clean[7, 3, 4, 0])
    stored[7, 3, 4, 0] = value + 41 if value < 200 else value - 41
    return replace(table, "adversarial", image_column(stored))


def swapped_labels(table):
    labels = table["label"].to_pylist()
    other = next(row for row in range(8, 40) if labels[row] != labels[7])
    labels[7], labels[other] = labels[other], labels[7]
    return replace(table, "label", labels)


def turned_success(table):
    flags = table["success"].to_pylist()
    return replace(table, "success", [*flags[:7], not flags[7], *flags[8:]])


def without_row_7(table):
    return table.filter(pc.field("row") != 7)


def twice_row_7(table):
    return pa.concat_tables([table, table.slice(7, 1)])


def altered_clean_picture(table):
    """By one level, with a hash that agrees."""
    images = images_of(table).copy()
    images[7, 0, 0, 0] ^= 1
    table = replace(table, "clean_sha256", picture_hashes(images))
    return replace(table, "image", image_column(images))


def change_at(table, column, row, change):
    """The table with one value of a column made another."""
    values = table[column].to_pylist()
    changed = [change(value) if i == row else value for i, value in enumerate(values)]
    assert changed[row] != values[row]
    return replace(table, column, changed)


PART = "part-00000.parquet: "


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (one_level_too_far, PART + "box and ball: 1, first row 7"),
        (swapped_labels, PART + "label: 2, first row 7"),
        (turned_success, PART + "success: 1, first row 7"),
        (without_row_7, "rows: not exactly once: 1, first row 7"),
        (twice_row_7, "rows: not exactly once: 1, first row 7"),
        (altered_clean_picture, PART + "clean picture: 1, first row 7"),
    ],
)
def test_a_planted_fault_is_found_and_its_row_named(copied, inputs, change, line, run):
    plant(copied, change)
    code, faults, _ = run(copied, inputs)
    assert code == 1
    assert line in faults


def test_every_claim_about_a_row_is_held_against_the_row(copied, inputs, run):
    changes = {
        "id": lambda value: value + "x",
        "clean_sha256": lambda value: value[::-1],
        "linf": lambda value: value - 1,
        "l2": lambda value: value + 0.001,
        "l1": lambda value: value - 0.001,
        "l0": lambda value: value + 1,
        "clean_prediction": lambda value: (value + 1) % 10,
        "adversarial_prediction": lambda value: value - 10,
    }

    def change(table):
        for row, (column, new) in enumerate(changes.items(), 10):
            table = change_at(table, column, row, new)
        return table

    plant(copied, change)
    code, faults, _ = run(copied, inputs)
    assert code == 1
    for row, column in enumerate(changes, 10):
        kinds = [f"{column}, {n} a call" for n in (7, 64)] if "prediction" in column else [column]
        assert {f"{PART}{kind}: 1, first row {row}" for kind in kinds} <= set(faults)


def test_a_margin_may_differ_by_less_than_the_threshold_and_by_no_more(copied, inputs, run):
    threshold = read_json(copied / MANIFEST_FILE)["attack"]["threshold"]
    plant(copied, lambda table: change_at(table, "margin", 7, lambda old: old + 0.9 * threshold))
    assert run(copied, inputs)[:2] == (0, [])
    plant(copied, lambda table: change_at(table, "margin", 7, lambda old: old + 0.2 * threshold))
    assert run(copied, inputs)[:2] == (
        1,
        [f"{PART}margin, {size} a call: 1, first row 7" for size in (7, 64)],
    )


def with_another_head(path, output, scale, bias):
    """The exported classifier with its last layer's weights scaled, and this bias."""
    model = onnx.load(path / CLASSIFIER_FILE)
    for tensor in model.graph.initializer:
        if tensor.name == "network.head.weight":
            weight = onnx.numpy_helper.to_array(tensor) * np.float32(scale)
            tensor.CopyFrom(onnx.numpy_helper.from_array(weight, tensor.name))
        elif tensor.name == "network.head.bias":
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.float32(bias), tensor.name))
    onnx.save(model, output)
    return output


def test_another_model_is_found_by_its_hash_and_by_its_answers(copied, inputs, tmp_path, run):
    other = with_another_head(inputs, tmp_path / "other.onnx", -1, np.zeros(10))
    code, faults, _ = run(copied, inputs, other)
    assert code == 1
    assert "another ONNX file" in faults
    for name in ("clean_prediction", "adversarial_prediction", "margin"):
        assert any(line.startswith(f"{PART}{name}, 7 a call") for line in faults), name


@pytest.mark.parametrize(("lead", "faulty"), [(0.9, False), (1.1, True)])
def test_a_near_tie_is_no_faulty_prediction(copied, inputs, tmp_path, lead, faulty, run):
    """Where class 3 always leads by less than the tolerance, any recorded class is as good."""
    lead *= read_json(copied / MANIFEST_FILE)["attack"]["threshold"]
    flat = with_another_head(inputs, tmp_path / "flat.onnx", 0, lead * np.eye(10)[3])
    _, faults, _ = run(copied, inputs, flat)
    assert any("_prediction" in line for line in faults) == faulty


def test_a_set_of_smallest_changes_claims_no_ball(copied, inputs, run):
    """Its manifest says eps 0."""
    edit_manifest(copied, lambda m: m["attack"].update(eps=1))
    assert any("box and ball" in line for line in run(copied, inputs)[1])
    edit_manifest(copied, lambda m: m["attack"].update(eps=0))
    assert run(copied, inputs)[:2] == (0, [])


def test_a_changed_accuracy_is_found(copied, inputs, run):
    true = read_json(copied / MANIFEST_FILE)["robust_accuracy"]
    edit_manifest(copied, lambda m: m.update(robust_accuracy=true - 1 / 60))
    code, faults, _ = run(copied, inputs)
    assert (code, faults) == (1, [f"manifest: robust_accuracy is {true:.6g}"])


def test_a_shard_with_another_hash_and_another_dataset_are_found(copied, inputs, run):
    def change(manifest):
        manifest["shards"][1]["sha256"] = "0" * 64
        manifest["dataset"]["sha256"] = "1" * 64

    edit_manifest(copied, change)
    code, faults, _ = run(copied, inputs)
    second = read_json(copied / MANIFEST_FILE)["shards"][1]["file"]
    assert (code, faults) == (1, ["another dataset", f"{copied / second}: SHA-256"])


def test_a_good_row_cannot_be_hidden_in_the_quarantine(copied, inputs, run):
    plant(copied, without_row_7)
    bad = [BadRow("digit", 7, "row 7", "has no label")]
    entries = write_quarantine(bad, copied, "part-00000.parquet")
    edit_manifest(copied, lambda m: m.update(quarantine=entries))
    code, faults, _ = run(copied, inputs)
    assert code == 1
    assert "quarantine: a row that has a label: 1, first row 7" in faults
    assert not any(line.startswith("rows:") for line in faults)


def test_a_threshold_that_is_not_the_classifiers_is_found(copied, inputs, run):
    """Ten times as high, it would hide broken rows; the manifest's other figures may agree."""
    true = read_json(copied / MANIFEST_FILE)["attack"]["threshold"]
    edit_manifest(copied, lambda m: m["attack"].update(threshold=10 * true))
    assert f"the threshold: {10 * true:.6g} is {true:.6g}" in run(copied, inputs)[1]


def test_a_threshold_that_states_no_rows_to_measure_it_on_is_measured_all_the_same(
    copied, inputs, run
):
    def raise_it(manifest):
        manifest["attack"].update(threshold=1e6, threshold_rows=0)

    edit_manifest(copied, raise_it)
    assert any(line.startswith("the threshold: 1e+06 is ") for line in run(copied, inputs)[1])
