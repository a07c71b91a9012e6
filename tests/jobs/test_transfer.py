"""Transfer sets: another set's pictures, judged by a classifier that they were not made against."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from digit_models import digit_network, fitted_network
from digit_set import CLASSES, write_digits
from in_this_process import perturb_here

from jobs.compare import CompareConfig
from jobs.compare import main as compare
from jobs.perturb import COMMAND, PerturbConfig, main
from pipeline.classifier import Classifier, save_classifier
from pipeline.errors import UserError
from pipeline.formats.dataset import load_dataset
from pipeline.formats.output import read_json
from pipeline.formats.perturbation.check import verify_perturbation_set
from pipeline.formats.perturbation.set import content_hash, open_perturbation_set
from pipeline.formats.perturbation.verdict import margins_of
from pipeline.formats.set_manifest import MANIFEST_FILE
from pipeline.formats.shard import images_of, labels_of, read_range
from pipeline.perturbation.transfer import TransferAttack
from pipeline.verification.directory import verify_directory


@pytest.fixture(autouse=True)
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    perturb_here(monkeypatch)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits, two classifiers, and a set made against the one named surrogate."""
    path = tmp_path_factory.mktemp("transfer")
    write_digits(path / "digits", num_train=20, num_test=60, shard_rows=70)
    save_classifier(path / "classifier", digit_network(), CLASSES, {})
    save_classifier(path / "surrogate", fitted_network(steps=60), CLASSES, {})
    with pytest.MonkeyPatch.context() as patched:
        perturb_here(patched)
        made = {"classifier": str(path / "surrogate"), "attack": "pgd", "source": None}
        main(config(path, path / "source", eps=0.25, steps=10, **made))
    return path


def config(inputs: Path, output: Path, **change: Any) -> PerturbConfig:
    values = {
        "dataset": inputs / "digits", "classifier": str(inputs / "classifier"), "output": output,
        "attack": "transfer", "source": inputs / "source", "rows_per_shard": 25, "num_workers": 2,
    }  # fmt: skip
    return PerturbConfig(**{**values, **change})


def rows_of(path: Path) -> pa.Table:
    opened = open_perturbation_set(path)
    return read_range(path, opened.shards, 0, opened.stop).combine_chunks()


def test_the_pictures_are_the_sources_and_the_verdicts_the_classifiers_own(
    inputs: Path, tmp_path: Path
) -> None:
    path = main(config(inputs, tmp_path / "set"))
    rows, source = rows_of(path), open_perturbation_set(inputs / "source")
    moved = images_of(rows, "adversarial")
    assert np.array_equal(moved, images_of(rows_of(inputs / "source"), "adversarial"))
    classifier = Classifier.load(inputs / "classifier")
    logits = classifier.logits_of(moved)
    margins = margins_of(logits, labels_of(rows))
    np.testing.assert_allclose(rows.column("margin").to_numpy(), margins, atol=1e-5)
    right = classifier.predict(images_of(rows)) == labels_of(rows)
    assert np.array_equal(rows.column("success").to_numpy(), right & (margins > 1e-3))
    assert 0 < rows.column("success").to_numpy().sum() < right.sum()
    assert set(rows.column("forwards").to_pylist()) == {1}
    assert set(rows.column("backwards").to_pylist()) == {0}
    told = read_json(path / MANIFEST_FILE)["attack"]
    assert told["norm"] == "linf"
    assert told["eps"] == source.attack["eps"] == 63
    assert told["made_by"] == "pgd"
    assert told["set_sha256"] == content_hash(source.manifest)
    assert told["surrogate_sha256"] == Classifier.load(inputs / "surrogate").sha256
    assert verify_directory(path).faults.lines() == []
    assert not verify_perturbation_set(path, classifier, load_dataset(inputs / "digits")).faults


def test_the_rows_are_the_same_however_they_are_cut(inputs: Path, tmp_path: Path) -> None:
    one = main(config(inputs, tmp_path / "one", rows_per_shard=60))
    nine = main(config(inputs, tmp_path / "nine", rows_per_shard=7))
    assert rows_of(one).equals(rows_of(nine))
    part = main(config(inputs, tmp_path / "part", limit=33))
    assert rows_of(part).equals(rows_of(one).slice(0, 33))


def test_breaking_what_the_classifiers_own_gradients_left_is_warned_of(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    transferred = main(config(inputs, tmp_path / "transferred"))
    idle = {"attack": "ascent", "step_size": 1e-6, "steps": 1, "eps": 0.25, "source": None}
    weak = main(config(inputs, tmp_path / "weak", **idle))
    capsys.readouterr()
    compare(CompareConfig(sets=(transferred, weak), output=tmp_path / "compared"))
    assert "warning: transfer uses no gradient of the model" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": None}, "transfer needs --source"),
        ({"eps": 0.1}, "is not told eps"),
        ({"norm": "l2"}, "is not told norm"),
        ({"steps": 3}, "is not told steps"),
        ({"seed": 3}, "is not told seed"),
        ({"loss_clip": 3.0}, "is not told loss_clip"),
        ({"attack": "pgd"}, "the attack pgd is not told source"),
        ({"split": "train"}, "of another split than train"),
        ({"source": Path("nowhere")}, "holds no finished perturbation set"),
    ],
)
def test_what_does_not_fit_is_a_user_error(
    inputs: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        main(config(inputs, tmp_path / "set", **change))
    assert not (tmp_path / "set").exists()


def test_its_own_classifier_and_too_few_rows_are_user_errors(inputs: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="against this very classifier"):
        main(config(inputs, tmp_path / "set", classifier=str(inputs / "surrogate")))
    short = main(config(inputs, tmp_path / "short", limit=20))
    with pytest.raises(UserError, match=r"has rows 0 to 20, not 0 to 60; give --limit 20"):
        main(config(inputs, tmp_path / "set", classifier=str(inputs / "surrogate"), source=short))


def test_a_source_that_is_replaced_meanwhile_stops_the_job(inputs: Path, tmp_path: Path) -> None:
    settings = config(inputs, tmp_path / "set").set_attack().settings
    assert isinstance(settings, TransferAttack)
    other = replace(settings, set_sha256="0" * 64)
    rows = np.arange(3)
    clean = images_of(rows_of(inputs / "source"))[:3]
    assert settings.pictures(rows, clean).shape == (3, 8, 8, 1)
    with pytest.raises(UserError, match="another set than when the job was started"):
        other.pictures(rows, clean)
    with pytest.raises(UserError, match="changed other pictures"):
        settings.pictures(rows, 255 - clean)


def test_the_command_says_it_in_one_line(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = ["--dataset", str(inputs / "digits"), "--classifier", str(inputs / "classifier")]
    output = ["--output", str(tmp_path / "set"), "--attack", "transfer"]
    assert COMMAND.run([*told, *output]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "needs --source" in line
