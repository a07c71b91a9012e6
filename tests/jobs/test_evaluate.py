"""The job `evaluate`: on sets whose figures are known without it."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from digit_models import digit_network
from digit_set import CLASSES, digits, write_digits
from small_stack import SPEC, small_stack

from jobs.evaluate import RESULTS_FILE, EvaluateConfig, main
from pipeline.classifier import Classifier, save_classifier
from pipeline.errors import UserError
from pipeline.formats.output import read_json
from pipeline.formats.sample_set import sample_table, write_manifest
from pipeline.formats.shard import write_shard
from pipeline.intervals import clopper_pearson
from pipeline.networks.condition import ConditionSpec
from pipeline.stack import save_stack
from pipeline.stack_spec import ErrorCurve

NUM_TRAIN, NUM_TEST = 200, 100


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("evaluate")
    write_digits(path / "digits", num_train=NUM_TRAIN, num_test=NUM_TEST, shard_rows=60)
    save_classifier(path / "classifier", digit_network(), CLASSES, {})
    return path


def write_samples(
    path: Path,
    images: np.ndarray,
    labels: np.ndarray,
    classes: tuple[str, ...] = CLASSES,
    **origin: object,
) -> Path:
    """Given pictures as a sample set, in two shards."""
    shards, half = [], len(images) // 2
    for number, rows in enumerate((np.arange(half), np.arange(half, len(images)))):
        table = sample_table(0, rows, labels[rows], images[rows])
        shards.append(write_shard(table, path, f"part-{number:05d}.parquet"))
    write_manifest(path, shape=images.shape[1:], classes=classes, shards=shards, origin=origin)
    return path


def config(inputs: Path, samples: Path, output: Path, **changes: Any) -> EvaluateConfig:
    values = {
        "samples": samples,
        "dataset": inputs / "digits",
        "classifier": inputs / "classifier",
        "output": output,
        **changes,
    }
    return EvaluateConfig(**values)


def test_the_test_pictures_themselves_have_distance_0_and_the_classifiers_accuracy(
    inputs: Path, tmp_path: Path
) -> None:
    images, labels = (part[-NUM_TEST:] for part in digits())
    labels = labels.copy()
    labels[:10] = -1  # without a label: not asked for
    samples = write_samples(tmp_path / "samples", images, labels)
    result = main(config(inputs, samples, tmp_path / "out"))
    right = Classifier.load(inputs / "classifier").predict(images[10:]) == labels[10:]
    agreement = result["agreement"]
    assert agreement["asked"] == NUM_TEST - 10
    assert agreement["right"] == right.sum()
    low, high = clopper_pearson(int(right.sum()), NUM_TEST - 10)
    assert (agreement["low95"], agreement["high95"]) == (low, high)
    frechet = result["frechet"]
    assert frechet["count"] == NUM_TEST
    assert frechet["samples_to_test"] == pytest.approx(0, abs=1e-4)
    assert frechet["train_to_test"] > 0.1
    assert result["bound"] is None
    file = tmp_path / "out" / RESULTS_FILE
    assert read_json(file) == result
    before = file.stat().st_mtime_ns
    assert main(config(inputs, samples, tmp_path / "out")) == result
    assert file.stat().st_mtime_ns == before


def test_training_pictures_count_as_copies_and_as_the_floor(inputs: Path, tmp_path: Path) -> None:
    images, labels = (part[:NUM_TRAIN] for part in digits())
    samples = write_samples(tmp_path / "samples", images, labels)
    result = main(config(inputs, samples, tmp_path / "out", count=NUM_TEST))
    copies = result["copies"]
    assert copies["num_near"] == copies["num_samples"] == copies["num_training"] == NUM_TRAIN
    assert copies["num_held_out"] == NUM_TEST
    assert copies["num_held_out_near"] < NUM_TEST / 10
    # Other draws of the same pictures: near the floor, and not at it.
    assert 0.5 < result["frechet"]["ratio_to_floor"] < 2


def test_grey_noise_is_no_copy_and_far_from_the_test_pictures(inputs: Path, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (NUM_TEST, 8, 8, 1), np.uint8)
    samples = write_samples(tmp_path / "samples", images, np.arange(NUM_TEST) % 10)
    result = main(config(inputs, samples, tmp_path / "out"))
    assert result["copies"]["num_near"] == 0
    assert result["frechet"]["ratio_to_floor"] > 10
    assert result["agreement"]["rate"] < 0.3


def test_the_bound_is_the_sum_of_its_parts_and_of_the_stack_that_made_the_samples(
    inputs: Path, tmp_path: Path
) -> None:
    curve = ErrorCurve((-4.0, 4.0), (1e-4, 0.3))
    spec = replace(
        SPEC, classes=CLASSES, condition=ConditionSpec("label", 10), errors=(curve, curve)
    )
    stack = small_stack()
    stack = type(stack)(spec).eval()
    sha256 = save_stack(stack, {}, tmp_path / "model", {})
    images, labels = (part[-20:] for part in digits())
    samples = write_samples(tmp_path / "samples", images, labels, model_sha256=sha256)
    asked = {"model": tmp_path / "model", "bound_layers": 16, "bound_rows": 40}
    bound = main(config(inputs, samples, tmp_path / "out", **asked))["bound"]
    parts = [bound[f"{part}_bits_per_dim"] for part in ("prior", "layers", "reconstruction")]
    assert bound["bits_per_dim"] == pytest.approx(sum(parts))
    assert bound["standard_error"] > 0
    assert (bound["num_layers"], bound["num_pictures"]) == (16, 40)
    other = write_samples(tmp_path / "other", images, labels, model_sha256="another")
    with pytest.raises(UserError, match="was made by another model"):
        main(config(inputs, other, tmp_path / "out2", **asked))


def test_a_count_that_one_side_lacks_is_refused(inputs: Path, tmp_path: Path) -> None:
    images, labels = (part[:150] for part in digits())
    samples = write_samples(tmp_path / "samples", images, labels)
    with pytest.raises(UserError, match="the test split has only 100 pictures"):
        main(config(inputs, samples, tmp_path / "out", count=150))
    with pytest.raises(UserError, match="the sample set has only 150 pictures"):
        main(config(inputs, samples, tmp_path / "out", count=151))
    assert not (tmp_path / "out" / RESULTS_FILE).exists()


def test_other_shapes_and_classes_are_refused(inputs: Path, tmp_path: Path) -> None:
    wide = np.zeros((4, 8, 9, 1), np.uint8)
    samples = write_samples(tmp_path / "wide", wide, np.zeros(4, np.int64))
    with pytest.raises(UserError, match="8x9x1"):
        main(config(inputs, samples, tmp_path / "out"))
    images, labels = (part[:10] for part in digits())
    letters = write_samples(tmp_path / "letters", images, labels, tuple("abcdefghij"))
    with pytest.raises(UserError, match="different classes"):
        main(config(inputs, letters, tmp_path / "out"))


def test_another_sample_sets_figures_are_refused_without_overwrite(
    inputs: Path, tmp_path: Path
) -> None:
    images, labels = digits()
    one = write_samples(tmp_path / "one", images[:20], labels[:20])
    main(config(inputs, one, tmp_path / "out"))
    before = (tmp_path / "out" / RESULTS_FILE).read_bytes()
    shutil.rmtree(one)
    write_samples(tmp_path / "one", images[20:40], labels[20:40])
    with pytest.raises(UserError, match="samples"):
        main(config(inputs, one, tmp_path / "out"))
    assert (tmp_path / "out" / RESULTS_FILE).read_bytes() == before
    main(config(inputs, one, tmp_path / "out", overwrite=True))
    assert (tmp_path / "out" / RESULTS_FILE).read_bytes() != before
