"""The job `perturb`: on Ray, exactly once, resumable; mistakes are told before Ray starts."""

import contextlib
import re
import shutil
import subprocess
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch
from digit_models import SHAPE, digit_network, fitted_network
from digit_set import CLASSES, digits, write_digits
from in_this_process import in_this_process
from PIL import Image
from planted_sets import rehash
from torch import nn

import noisestack as ns
from jobs.perturb import COMMAND, PICTURE_FILE, PerturbConfig, main
from jobs.perturb.words import say_attack
from noisestack.__main__ import main as verify
from noisestack.flags import read_config
from pipeline.attacks.base import Norm
from pipeline.attacks.engine.ensemble import Ensemble
from pipeline.attacks.geometry.ball import Ball, whole_levels
from pipeline.attacks.methods.apgd import Apgd
from pipeline.attacks.methods.fgsm import fgsm
from pipeline.attacks.methods.pgd import Pgd
from pipeline.attacks.trust.audit import Audit
from pipeline.classifier import Classifier, save_classifier
from pipeline.errors import UserError
from pipeline.formats.dataset import (
    dataset_table,
    load_dataset,
    write_dataset_info,
    write_shard,
)
from pipeline.formats.output import read_json
from pipeline.formats.perturbation.check import verify_perturbation_set
from pipeline.formats.perturbation.set import (
    CLASSIFIER_FILE,
    MANIFEST_FILE,
    open_perturbation_set,
    write_perturbation_manifest,
)
from pipeline.formats.shard import read_range
from pipeline.intervals import clopper_pearson
from pipeline.networks.classifier import ClassifierNetwork, ClassifierShape
from pipeline.perturbation.perturber import Perturber
from pipeline.plots.robustness import ROBUSTNESS_FILE
from pipeline.verification.directory import verify_directory


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("perturb")
    write_digits(path / "digits", num_train=20, num_test=90, shard_rows=40)
    save_classifier(path / "classifier", digit_network(), CLASSES, {})
    return path


def config(inputs: Path, output: Path, **change: object) -> PerturbConfig:
    values: dict[str, object] = {
        "dataset": inputs / "digits",
        "classifier": inputs / "classifier",
        "output": output,
        "eps": 0.157,
        "steps": 5,
        "rows_per_shard": 32,
        "num_workers": 2,
        **change,
    }
    return PerturbConfig(**values)


def rows_of(path: Path) -> pa.Table:
    opened = open_perturbation_set(path)
    return read_range(path, opened.shards, 0, opened.stop - opened.start).combine_chunks()


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_run_makes_a_verified_set_with_its_figures_and_picture(
    inputs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    path = ns.jobs.perturb(config(inputs, tmp_path / "set"))
    assert path == tmp_path / "set"
    report = verify_perturbation_set(
        path, Classifier.load(inputs / "classifier"), load_dataset(inputs / "digits")
    )
    assert report.faults == ()
    assert report.num_verified == 90
    manifest = read_json(path / MANIFEST_FILE)
    counts = manifest["counts"]
    assert counts["rows"] == counts["verified"] == 90
    assert manifest["clean_accuracy"] == report.clean_accuracy > 0.9
    assert manifest["robust_accuracy"] == report.robust_accuracy < 0.5
    robust_right = counts["clean_right"] - counts["successes"]
    assert manifest["robust_accuracy_interval_95"] == list(clopper_pearson(robust_right, 90))
    assert manifest["norms"]["linf_max_levels"] == manifest["attack"]["eps"] == 40
    assert [shard["num_rows"] for shard in manifest["shards"]] == [32, 32, 26]
    with Image.open(path / PICTURE_FILE) as picture:
        assert picture.width > 300
    assert not (path / "records").exists()
    said = capsys.readouterr().out
    assert "eps 40 levels of 1/255 (0.1569), rounded down from 40.04" in said
    assert "90 of 90 rows verified after storage" in said
    before = (path / MANIFEST_FILE).stat().st_mtime_ns
    main(config(inputs, path, num_workers=1))
    assert (path / MANIFEST_FILE).stat().st_mtime_ns == before
    assert "finished before" in capsys.readouterr().out
    # Another cut, and no workers at all: the same rows. (And a finished set was left alone.)
    request.getfixturevalue("without_ray")
    main(config(inputs, tmp_path / "other", rows_per_shard=90))
    assert rows_of(tmp_path / "other").equals(rows_of(path))


@pytest.mark.usefixtures("without_ray")
@pytest.mark.parametrize(
    "attack",
    [
        {},
        {"attack": "fmn", "norm": "l1", "eps": None},
        {"attack": "apgd_targeted", "restarts": 3},
    ],
)
def test_a_set_with_its_classifier_passes_the_check_that_has_none_of_our_code(
    inputs: Path, tmp_path: Path, attack: dict[str, object]
) -> None:
    pytest.importorskip("onnxscript")
    path = main(config(inputs, tmp_path / "set", limit=40, export_onnx=True, **attack))
    checker = Path(__file__).parents[2] / "docs" / "check_perturbations.py"
    command = [sys.executable, checker, path, inputs / "digits", path / CLASSIFIER_FILE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not verify_directory(path).faults
    (path / CLASSIFIER_FILE).write_bytes(b"another")
    (line,) = verify_directory(path).faults.lines()
    assert CLASSIFIER_FILE in line


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"eps": 0.003}, "less than one level"),
        ({"eps": 8}, r"eps 8 lies outside 0 to 1, .*; did you mean 8/255 \(0.0314\)"),
        ({"step_size": 2}, r"step_size 2 lies outside 0 to 1, .*; did you mean 2/255"),
        ({"norm": "l2", "eps": 128}, r"eps 128 lies outside 0 to 8, .* 8x8x1"),
        ({"attack": "fmn", "norm": "l1", "eps": 0.1}, "takes no eps"),
        ({"attack": "fgsm", "norm": "l2", "steps": 1}, "fgsm takes one step"),
        ({"attack": "ascent"}, "ascent needs a step_size"),
        ({"split": "validation"}, "has no split 'validation', only train, test"),
        ({"classifier": Path("/nonexistent/model")}, "there is no model directory"),
        ({"dataset": Path("/nonexistent/data")}, "/nonexistent/data"),
    ],
)
def test_mistakes_are_told_before_anything_starts(
    inputs: Path, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        main(config(inputs, tmp_path / "set", **change))
    assert not (tmp_path / "set").exists()


def test_a_classifier_for_other_pictures_or_classes_is_refused(
    inputs: Path, tmp_path: Path
) -> None:
    wide = ClassifierNetwork(ClassifierShape(8, 9, 1, 10, (8,)))
    save_classifier(tmp_path / "wide", wide, CLASSES, {})
    with pytest.raises(UserError, match="8x9x1"):
        main(config(inputs, tmp_path / "set", classifier=tmp_path / "wide"))
    letters = tuple("abcdefghij")
    save_classifier(tmp_path / "letters", digit_network(), letters, {})
    with pytest.raises(UserError, match="different classes: label 0 is a in the one and 0"):
        main(config(inputs, tmp_path / "set", classifier=tmp_path / "letters"))


def test_an_empty_split_is_a_user_error(inputs: Path, tmp_path: Path) -> None:
    write_dataset_info(
        tmp_path / "empty",
        shape=(8, 8, 1),
        classes=CLASSES,
        splits={"test": []},
        has_captions=False,
        origin={},
    )
    with pytest.raises(UserError, match=r"the split test of .* is empty"):
        main(config(inputs, tmp_path / "set", dataset=tmp_path / "empty"))


def test_an_output_with_another_attacks_results_is_refused(inputs: Path, tmp_path: Path) -> None:
    output = tmp_path / "set"
    shutil.copytree(inputs / "classifier", output)
    with pytest.raises(UserError, match="no run of this command made"):
        main(config(inputs, output))


def test_the_command_line_answers_a_mistake_with_one_line_and_code_2(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "--dataset", str(inputs / "digits"), "--classifier", str(inputs / "classifier"),
        "--output", str(tmp_path / "set"), "--eps", "0.001",
    ]  # fmt: skip
    assert COMMAND.run(arguments, prog="perturb") == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: eps is 0.001, less than one level")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(("name", "levels"), [("digits", 40), ("fashion_mnist", 8)])
def test_the_shipped_configs_are_read(name: str, levels: int) -> None:
    file = Path(__file__).resolve().parents[2] / "configs" / f"perturb_{name}.yaml"
    shipped = read_config(PerturbConfig, ["--config", str(file)], "perturb")
    assert whole_levels(shipped.eps, Norm.LINF) == levels
    assert (shipped.attack, shipped.norm) == ("pgd", "linf")


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.perturb.run_shards", in_this_process)
    monkeypatch.setattr("jobs.perturb.ray_session", contextlib.nullcontext)


def write_badly_labelled(
    path: Path, bad: Sequence[int], num_rows: int = 40, split: str = "test"
) -> Path:
    """Digits of which the bad ones have a label outside the classes, below and above in turn."""
    images, labels = digits()
    labels = labels[:num_rows].copy()
    labels[list(bad)] = [(-1, 10)[number % 2] for number in range(len(bad))]
    table = dataset_table([f"d{i}" for i in range(num_rows)], images[:num_rows], labels, None)
    shard = write_shard(table, path, f"{split}/part-00000.parquet")
    write_dataset_info(
        path,
        shape=(8, 8, 1),
        classes=CLASSES,
        splits={split: [shard]},
        has_captions=False,
        origin={},
    )
    return path


@pytest.mark.usefixtures("without_ray")
def test_rows_without_a_label_among_the_classes_are_set_aside_and_the_others_unchanged(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = [1, 8, 9, 10, 11, 12, 13, 14, 15, 39]  # one of the shards of 8 has no good row
    changes = {"rows_per_shard": 8, "on_bad_row": "quarantine", "steps": 2}
    data = write_badly_labelled(tmp_path / "data", bad, split="validation")  # the only one there is
    path = main(config(inputs, tmp_path / "set", dataset=data, **changes))
    manifest = read_json(path / MANIFEST_FILE)
    assert manifest["dataset"]["split"] == "validation"
    counts = manifest["counts"]
    assert (counts["read"], counts["rows"], counts["quarantined"]) == (40, 30, 10)
    assert [shard["num_rows"] for shard in manifest["shards"]] == [7, 8, 8, 7]
    assert not (path / "part-00001.parquet").exists()
    aside = [
        row
        for entry in manifest["quarantine"]
        for row in pq.read_table(path / entry["file"]).to_pylist()
    ]
    assert [(row["id"], row["row"]) for row in aside] == [(f"d{row}", row) for row in bad]
    for row, label in zip(aside, [-1, 10] * 5, strict=True):
        assert row["origin"] == f"row {row['row']} of {data}, split validation"
        assert f"has label {label}; an attack needs labels from 0 to 9" in row["reason"]
    assert f"bad rows: 10 set aside in {path / 'quarantine'}" in capsys.readouterr().out
    whole = main(
        config(
            inputs,
            tmp_path / "whole",
            dataset=write_badly_labelled(tmp_path / "good", [], split="validation"),
            **changes,
        )
    )
    kept = pa.array(np.setdiff1d(np.arange(40), bad))
    opened = open_perturbation_set(path)
    assert read_range(path, opened.shards, 0, 30).equals(rows_of(whole).take(kept))
    found = verify_directory(path)
    assert found.faults.lines() == []
    assert (found.num_rows, found.num_quarantined) == (30, 10)
    classifier = Classifier.load(inputs / "classifier")
    report = verify_perturbation_set(path, classifier, load_dataset(data))
    assert report.faults == ()


@pytest.mark.usefixtures("without_ray")
def test_a_bad_row_ends_a_run_that_quarantine_then_finishes(inputs: Path, tmp_path: Path) -> None:
    changes = {
        "rows_per_shard": 8,
        "steps": 1,
        "dataset": write_badly_labelled(tmp_path / "data", [10]),
    }
    told = r"^bad row d10: row 10 of .*, split test, has label -1; .*--on-bad-row quarantine$"
    with pytest.raises(UserError, match=told):
        main(config(inputs, tmp_path / "set", **changes))
    last = tmp_path / "set/part-00004.parquet"  # the last shard is done first
    before = last.stat().st_mtime_ns
    changes["on_bad_row"] = "quarantine"
    assert verify_directory(main(config(inputs, tmp_path / "set", **changes))).num_quarantined == 1
    assert last.stat().st_mtime_ns == before
    changes["on_bad_row"] = "fail"
    with pytest.raises(UserError, match="an earlier run has set 1 bad rows aside in"):
        main(config(inputs, tmp_path / "set", **changes))


@pytest.mark.usefixtures("without_ray")
def test_a_split_of_bad_rows_alone_makes_no_set(inputs: Path, tmp_path: Path) -> None:
    data = write_badly_labelled(tmp_path / "data", range(6), 6)
    with pytest.raises(UserError, match=re.escape(f"none of the 6 rows of {data}, split test")):
        main(config(inputs, tmp_path / "set", dataset=data, on_bad_row="quarantine"))
    assert not (tmp_path / "set" / MANIFEST_FILE).exists()


@pytest.mark.usefixtures("without_ray")
@pytest.mark.parametrize("steps", [1, 20])  # of the alarm: one breaks nothing more
def test_an_audit_stands_in_the_manifest_and_its_alarm_is_widened_to_all_rows_where_it_goes_off(
    inputs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    steps: int,
) -> None:
    ball = Ball(Norm.LINF, 20)
    alarm = fgsm(ball) if steps == 1 else Apgd(ball, steps)
    audit = Audit((("audit", Pgd(ball, 1, ball.eps / 4)),), 0.3, alarm=("alarm", alarm))
    ensemble = Ensemble((("fgsm", fgsm(ball)),), audit=audit)
    monkeypatch.setattr("pipeline.attacks.methods.autoattack.fast", lambda ball: ensemble)
    changes = {"attack": "autoattack", "ensemble": "fast", "eps": 20 / 255, "steps": None}
    path = main(config(inputs, tmp_path / "set", rows_per_shard=9, **changes))
    manifest = read_json(path / MANIFEST_FILE)
    told, counts = manifest["audit"], manifest["counts"]
    assert manifest["attack"]["ensemble"] == "fast"
    assert told["standing"] == counts["clean_right"] - counts["successes"] + told["overturned"]
    assert 0 < told["audited"] < told["standing"]
    assert told["difference_interval_95"][1] > 0
    names = {shard["file"].split("-")[0] for shard in manifest["shards"]}
    printed = capsys.readouterr().out
    if steps == 1:
        assert (told["alarming"], told["widened_after"]) == (0, None)
        assert names == {"part"}
        assert "alarm" not in printed
    else:
        assert 0 < told["widened_after"]["alarming"] < told["alarming"]
        assert names == {"widened"}
        assert f"broke {told['alarming']}" in printed
    assert sorted(p.name for p in path.glob("*.parquet")) == [s["file"] for s in manifest["shards"]]
    assert verify_directory(path).faults.lines() == []
    assert f"broke {told['overturned']} of {told['audited']} audited" in printed


@pytest.mark.usefixtures("without_ray")
def test_a_run_that_died_half_way_is_finished_with_the_same_bytes(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = main(config(inputs, tmp_path / "straight", limit=30, rows_per_shard=8, steps=2))
    made = []

    class Dying(Perturber):
        def __call__(self, shard: dict[str, Any]) -> dict[str, Any]:
            if len(made) == 3:
                (self._place.output / ".part-00002.parquet.tmp-1-2").write_bytes(b"half")
                raise KeyboardInterrupt
            made.append(shard["file"])
            return super().__call__(shard)

    with monkeypatch.context() as patched:
        patched.setattr("jobs.perturb.Perturber", Dying)
        with pytest.raises(KeyboardInterrupt):
            main(config(inputs, tmp_path / "set", limit=30, rows_per_shard=8, steps=2))
    assert not (tmp_path / "set" / MANIFEST_FILE).exists()
    before = {file: (tmp_path / "set" / file).stat().st_mtime_ns for file in made}
    path = main(config(inputs, tmp_path / "set", limit=30, rows_per_shard=8, steps=2))
    assert {file: (path / file).stat().st_mtime_ns for file in made} == before
    for shard in open_perturbation_set(straight).shards:
        assert (straight / shard.file).read_bytes() == (path / shard.file).read_bytes()
    ours, theirs = (read_json(place / MANIFEST_FILE) for place in (path, straight))
    assert ours["content_sha256"] == theirs["content_sha256"]
    assert verify_directory(path).faults.lines() == []


class Nets(types.ModuleType):
    """An importable module of what a user might bring."""

    @staticmethod
    def blank():  # type: ignore[no-untyped-def]
        # As Noisestack's own classifier lays it out; another layout adds in another order.
        return ClassifierNetwork(SHAPE).to(memory_format=torch.channels_last)

    @staticmethod
    def probabilities():  # type: ignore[no-untyped-def]
        return nn.Sequential(digit_network(), nn.Softmax(dim=1))

    @staticmethod
    def features():  # type: ignore[no-untyped-def]
        return nn.Sequential(digit_network(), nn.Linear(10, 7))

    @staticmethod
    def flat():  # type: ignore[no-untyped-def]
        return nn.Sequential(nn.Conv2d(1, 1, 3), nn.Flatten(), nn.Linear(100, 10))

    @staticmethod
    def nan():  # type: ignore[no-untyped-def]
        network = ClassifierNetwork(SHAPE)
        nn.init.constant_(network.head.bias, float("nan"))
        return network

    @staticmethod
    def random():  # type: ignore[no-untyped-def]
        class Noisy(nn.Module):
            def forward(self, x):  # type: ignore[no-untyped-def]
                return digit_network()(x + 0.1 * torch.randn_like(x))

        return Noisy()

    @staticmethod
    def dropping():  # type: ignore[no-untyped-def]
        return nn.Sequential(digit_network(), nn.Dropout(0.5).train())

    @staticmethod
    def drawn():  # type: ignore[no-untyped-def]
        return ClassifierNetwork(SHAPE)

    @staticmethod
    def step(model, x, y, eps):  # type: ignore[no-untyped-def]
        probe = x.clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(model(probe).gather(1, y[:, None]).sum(), probe)
        return x - 2 * eps * gradient.sign()

    @staticmethod
    def nothing(model, x, y, eps):  # type: ignore[no-untyped-def]
        return None


@pytest.fixture
def nets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setitem(sys.modules, "brought", Nets("brought"))
    weights = tmp_path / "weights.safetensors"
    state = digit_network().state_dict()
    safetensors.torch.save_file({k: v.contiguous() for k, v in state.items()}, weights)
    return weights


@pytest.mark.usefixtures("without_ray")
def test_a_users_module_gives_the_very_set_that_the_same_network_gives_as_a_model_directory(
    inputs: Path, tmp_path: Path, nets: Path
) -> None:
    own = main(config(inputs, tmp_path / "own", limit=40))
    brought = main(
        config(inputs, tmp_path / "brought", limit=40, classifier="brought:blank", weights=nets)
    )
    for shard in open_perturbation_set(own).shards:
        assert (own / shard.file).read_bytes() == (brought / shard.file).read_bytes()
    manifest = read_json(brought / MANIFEST_FILE)
    assert manifest["model"]["kind"] == "function"
    assert manifest["model"]["function"] == "brought:blank"
    assert "levels / 255" in manifest["model"]["preprocessing"]["input"]
    assert manifest["warnings"] == read_json(own / MANIFEST_FILE)["warnings"] == []
    models = ["--dataset", str(inputs / "digits"), "--classifier", "brought:blank"]
    assert verify(["verify", str(brought), *models, "--weights", str(nets)]) == 0
    assert verify(["verify", str(own), *models, "--weights", str(nets)]) == 1  # another identity


@pytest.mark.usefixtures("without_ray", "nets")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classifier": "brought:probabilities"}, "returns probabilities"),
        ({"classifier": "brought:nan"}, "not all finite numbers"),
        ({"classifier": "brought:features"}, r"returns torch.float32 \[64, 7\] for 64 pictures"),
        ({"classifier": "brought:flat"}, "raised RuntimeError: .* when asked about 64 pictures"),
        ({"classifier": "brought:random"}, "is randomised"),
        ({"classifier": "absent.nets:build"}, "is not found; set PYTHONPATH"),
        ({"classifier": "brought:drawn"}, "other weights, or another source"),
        ({"attack": "absent:attack", "steps": None}, "is not found; set PYTHONPATH"),
        ({"attack": "brought:step"}, "is not told steps; leave it out"),
        ({"attack": "brought:nothing", "steps": None}, "returned NoneType where"),
    ],
)
def test_what_a_user_brings_and_does_not_fit_is_told_in_one_line_and_leaves_nothing(
    inputs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, object],
    message: str,
) -> None:
    with pytest.raises(UserError, match=message) as refused:
        main(config(inputs, tmp_path / "set", limit=40, **change))
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "set").exists()


@pytest.mark.usefixtures("without_ray", "nets")
def test_a_users_attack_makes_a_set_that_holds_and_tells_what_the_ball_took(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"attack": "brought:step", "steps": None, "eps": 0.05, "limit": 60}
    path = main(config(inputs, tmp_path / "set", **changes))
    report = verify_perturbation_set(
        path, Classifier.load(inputs / "classifier"), load_dataset(inputs / "digits")
    )
    assert report.faults == ()
    assert verify_directory(path).faults.lines() == []
    manifest = read_json(path / MANIFEST_FILE)
    assert manifest["attack"]["attack"] == "brought:step"
    assert manifest["counts"]["successes"] > 0
    table = rows_of(path)
    right = pa.compute.equal(table["clean_prediction"], table["label"]).to_numpy()
    assert table["linf"].to_numpy()[right].max() == 12  # of 24 that it takes
    assert set(table["backwards"].to_numpy()[right].tolist()) == {1}
    assert manifest["reproducible"] is True
    (lost,) = [told for told in manifest["warnings"] if told["code"] == "lost"]
    assert lost["count"] == manifest["counts"]["lost"] > 0
    assert f"perturb: warning: {lost['text']}" in capsys.readouterr().out


@pytest.mark.usefixtures("without_ray")
@pytest.mark.parametrize(("attack", "norm"), [("deepfool", "l2"), ("fmn", "linf")])
def test_the_last_line_of_a_smallest_change_attack_has_the_median_change(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], attack: str, norm: str
) -> None:
    changes = {"attack": attack, "norm": norm, "eps": None, "steps": 10, "limit": 21}
    table = rows_of(main(config(inputs, tmp_path / "set", **changes)))
    won = table["success"].to_numpy()
    sizes = np.sort(table[norm].to_numpy()[won])
    median = sizes[(len(sizes) - 1) // 2]
    said = capsys.readouterr().out
    unit = " levels of 1/255" if norm == "linf" else ""
    (line,) = [line for line in said.splitlines() if "gradients a row" in line]
    told = float(line.split("broken ones ")[1].split()[0])
    assert line.endswith(f"{unit} in {norm}")
    assert median <= told <= median + 0.1 / (1 if norm == "linf" else 255) + 1e-3
    stored = read_json(tmp_path / "set" / MANIFEST_FILE)["norms"]["median_of_broken"]
    assert stored == pytest.approx(told, rel=1e-3)


@pytest.mark.parametrize(
    ("change", "ending"),
    [
        ({"attack": "autoattack", "steps": None}, "(0.1569)"),
        ({"attack": "fgsm", "steps": 1}, "(0.1569), 1 step"),
        ({"attack": "pgd"}, "(0.1569), 5 steps"),
    ],
)
def test_steps_are_told_of_one_attack_and_not_of_several_in_turn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], ending: str
) -> None:
    told = config(tmp_path, tmp_path / "set", **{"eps": 40 / 255, **change})
    say_attack(told, told.set_attack())
    assert capsys.readouterr().out.strip().endswith(ending)


@pytest.mark.usefixtures("without_ray")
def test_an_attack_that_its_seed_does_not_decide_is_told_in_manifest_and_terminal(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"steps": None, "eps": 0.1, "limit": 20}
    for attack, reproducible, code in (
        ("clock_seed", False, "not_repeatable"),
        ("own_torch_seed", True, "seed_ignored"),
    ):
        name = f"library_like_attacks:{attack}"
        path = main(config(inputs, tmp_path / attack, attack=name, **changes))
        manifest = read_json(path / MANIFEST_FILE)
        assert manifest["reproducible"] is reproducible
        (told,) = [told for told in manifest["warnings"] if told["code"] == code]
        assert f"perturb: warning: {told['text']}" in capsys.readouterr().out
        assert "repeat" not in manifest["shards"][0]
        assert verify_directory(path).faults.lines() == []
        models = ["--dataset", str(inputs / "digits"), "--classifier", str(inputs / "classifier")]
        assert verify(["verify", str(path), *models]) == 0
        if not reproducible:
            assert manifest["reproducible_why"] == told["text"]
            manifest["warnings"].remove(told)
            del manifest["manifest_sha256"]
            write_perturbation_manifest(path, manifest)
            (line,) = verify_directory(path).faults.lines()
            assert "says reproducible: False, and has no warning not_repeatable" in line


@pytest.mark.usefixtures("without_ray")
def test_a_set_of_another_classifier_is_not_taken_up_and_does_not_verify(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = main(config(inputs, tmp_path / "set", limit=40))
    save_classifier(tmp_path / "other", fitted_network(steps=1), CLASSES, {})
    with pytest.raises(UserError, match=r"another config .*classifier_sha256 is") as refused:
        main(config(inputs, path, limit=40, classifier=tmp_path / "other"))
    assert "\n" not in str(refused.value)
    models = ["--dataset", str(inputs / "digits"), "--classifier", str(tmp_path / "other")]
    assert verify(["verify", str(path), *models]) == 1
    said = capsys.readouterr().out
    assert "the classifier is not the one that the set names" in said


@pytest.mark.usefixtures("without_ray")
def test_a_warning_that_is_taken_out_of_the_manifest_is_a_fault(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A random network is right about as many digits as a guess, which the set says."""
    torch.manual_seed(0)
    save_classifier(tmp_path / "random", ClassifierNetwork(SHAPE), CLASSES, {})
    path = main(config(inputs, tmp_path / "set", classifier=tmp_path / "random", limit=40))
    assert "no better than guessing among 10 classes" in capsys.readouterr().out
    assert verify_directory(path).faults.lines() == []
    manifest = read_json(path / MANIFEST_FILE)
    assert [told["code"] for told in manifest["warnings"]] == ["chance"]
    rehash(path, {**manifest, "warnings": []})
    (line,) = verify_directory(path).faults.lines()
    assert "leaves out a warning: the classifier is right about" in line
    rehash(path, {**manifest, "warnings": [*manifest["warnings"], {"code": "unmoved", "count": 1}]})
    (line,) = verify_directory(path).faults.lines()
    assert "has a warning, unmoved, for which its rows give no reason" in line


@pytest.mark.usefixtures("without_ray", "nets")
def test_a_warning_of_the_classifier_is_kept_and_looked_for_again(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"classifier": "brought:dropping", "limit": 40, "steps": 1}
    path = main(config(inputs, tmp_path / "set", **changes))
    manifest = read_json(path / MANIFEST_FILE)
    assert [told["code"] for told in manifest["warnings"]] == ["training_mode"]
    assert "warning: 1 layers came in training mode (1 and the like)" in capsys.readouterr().out
    models = ["--dataset", str(inputs / "digits"), "--classifier", "brought:dropping"]
    assert verify(["verify", str(path), *models]) == 0
    rehash(path, {**manifest, "warnings": []})
    assert verify(["verify", str(path)]) == 0
    capsys.readouterr()
    assert verify(["verify", str(path), *models]) == 1
    said = capsys.readouterr().out
    assert "warnings of the classifier are none; a look at it gives training_mode" in said


@pytest.mark.usefixtures("without_ray")
def test_the_manifest_says_what_made_the_set_and_where(inputs: Path, tmp_path: Path) -> None:
    path = main(config(inputs, tmp_path / "set", limit=20, steps=1))
    manifest = read_json(path / MANIFEST_FILE)
    assert manifest["model"]["rows_per_call"] == 256
    assert manifest["model"]["kind"] == "noisestack"
    assert {"noisestack", "torch", "ray", "numpy", "pyarrow", "python"} == set(manifest["versions"])
    (device,) = manifest["devices"]
    assert device.startswith("cpu, ")
    assert manifest["warnings"] == []
    with Image.open(path / ROBUSTNESS_FILE) as picture:
        assert picture.width > 1000
