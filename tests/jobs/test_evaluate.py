"""The job `evaluate`: on sets whose figures are known without it."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from digit_models import digit_network
from digit_set import CLASSES, digits, with_validation, write_digits
from small_stack import SPEC, small_stack

from jobs.evaluate import main
from jobs.evaluate.config import EvaluateConfig
from jobs.evaluate.figures import bound_of
from pipeline.classifier import Classifier, save_classifier
from pipeline.conditions import ConditionSpec
from pipeline.errors import UserError
from pipeline.formats.dataset import (
    DatasetInfo,
    dataset_table,
    load_dataset,
    write_dataset_info,
)
from pipeline.formats.output import read_json
from pipeline.formats.sample_set import sample_table, write_manifest
from pipeline.formats.shard import write_shard
from pipeline.intervals import clopper_pearson
from pipeline.report.data import Figures
from pipeline.report.reading import headlines, readings
from pipeline.stack import save_stack
from pipeline.stack_spec import ErrorCurve
from pipeline.verification.directory import verify_directory
from pipeline.verification.evaluation_check import EVALUATION_FILE

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
    assert frechet["samples_to_test"] == 0
    assert frechet["train_to_test"] > 0.1
    assert result["bound"] is None
    file = tmp_path / "out" / EVALUATION_FILE
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
    assert copies["num_exact"] == copies["num_train_split"] == NUM_TRAIN
    assert (copies["num_held_out"], copies["num_held_out_exact"]) == (NUM_TEST, 0)
    assert copies["num_held_out_near"] < NUM_TEST / 10
    # Other draws of the same pictures: near the floor, and not at it.
    assert 0.5 < result["frechet"]["ratio_to_floor"] < 2


def test_copies_of_what_was_not_searched_are_found_and_the_searched_share_is_said(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, labels = (part[:NUM_TRAIN] for part in digits())
    samples = write_samples(tmp_path / "samples", images, labels)
    result = main(config(inputs, samples, tmp_path / "out", count=NUM_TEST, neighbours=50))
    copies = result["copies"]
    assert copies["num_exact"] == copies["num_near"] == NUM_TRAIN
    assert (copies["num_training"], copies["num_train_split"]) == (50, NUM_TRAIN)
    assert copies["num_held_out"] == 50
    assert "50 were searched, 25.0% of the train split" in capsys.readouterr().out


def test_a_floor_of_0_gives_no_ratio(tmp_path: Path, inputs: Path) -> None:
    """Where the test split is the train split; the report says so too."""
    images, labels = (part[:40] for part in digits())
    table = dataset_table([f"d{i}" for i in range(40)], images, labels, None)
    shards = {
        split: (write_shard(table, tmp_path / "same", f"{split}.parquet"),)
        for split in ("train", "test")
    }
    write_dataset_info(
        tmp_path / "same",
        shape=(8, 8, 1),
        classes=CLASSES,
        splits=shards,
        has_captions=False,
        origin={},
    )
    samples = write_samples(tmp_path / "samples", *(part[50:90] for part in digits()))
    result = main(config(inputs, samples, tmp_path / "out", dataset=tmp_path / "same"))
    frechet = result["frechet"]
    assert (frechet["train_to_test"], frechet["ratio_to_floor"]) == (0, None)
    assert frechet["samples_to_test"] > 0
    figures = Figures.from_json(result)
    (line,) = (line for line in headlines(figures) if line.name == "Fréchet distance")
    assert (line.note, line.good) == ("the floor is 0", None)
    assert "none" in [reading.value for reading in readings(figures)]


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
    assert verify_directory(tmp_path / "out").faults.lines() == []
    other = write_samples(tmp_path / "other", images, labels, model_sha256="another")
    with pytest.raises(UserError, match="was made by another model"):
        main(config(inputs, other, tmp_path / "out2", **asked))


def write_in_the_order_of_classes(path: Path) -> DatasetInfo:
    """300 test pictures, grey at first, then ever noisier: the bound differs by class."""
    noise = np.random.default_rng(3).normal(size=(300, 8, 8, 1))
    strength = np.repeat([0, 30, 60], 100)[:, None, None, None]
    images = np.clip(128 + noise * strength, 0, 255).astype(np.uint8)
    shards = [
        write_shard(
            dataset_table([f"p{i}" for i in rows], images[rows], None, None),
            path,
            f"test/part-{rows[0]:05d}.parquet",
        )
        for rows in np.arange(300).reshape(3, 100)
    ]
    return write_dataset_info(
        path, shape=(8, 8, 1), classes=(), splits={"test": shards}, has_captions=False, origin={}
    )


def test_the_bound_is_a_mean_over_random_test_pictures_and_its_error_that_of_their_choice(
    tmp_path: Path,
) -> None:
    """Over seeds the estimates scatter about the whole split's bound as the stated errors say."""
    info = write_in_the_order_of_classes(tmp_path / "set")
    stack = small_stack(classes=(), condition=ConditionSpec("none"))
    save_stack(stack, {}, tmp_path / "model", {"errors_measured_on": "train"})

    def bound(rows: int, seed: int) -> dict[str, Any]:
        asked = {"bound_rows": rows, "bound_rows_per_layer": rows, "bound_layers": 8}
        return bound_of(
            stack,
            info,
            "test",
            EvaluateConfig(
                samples=tmp_path,
                dataset=tmp_path,
                classifier=tmp_path,
                output=tmp_path,
                model=tmp_path / "model",
                seed=seed,
                **asked,
            ),
        )

    whole = bound(300, 0)
    assert whole["num_pictures"] == 300
    assert whole["variances_from"] == "train"
    some = [bound(20, seed) for seed in range(12)]
    off = [(b["bits_per_dim"] - whole["bits_per_dim"]) / b["standard_error"] for b in some]
    # A root mean square of 12 draws has a relative standard error of 1 / sqrt(24) = 0.2.
    assert np.sqrt(np.mean(np.square(off))) == pytest.approx(1, abs=3 * 0.2)
    assert abs(np.mean(off)) < 4 / np.sqrt(12)


def test_a_model_whose_variances_saw_the_test_pictures_is_called_so(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stack = small_stack(classes=CLASSES, condition=ConditionSpec("label", 10))
    sha256 = save_stack(stack, {}, tmp_path / "model", {"errors_measured_on": "test"})
    images, labels = (part[-20:] for part in digits())
    samples = write_samples(tmp_path / "samples", images, labels, model_sha256=sha256)
    asked = {"model": tmp_path / "model", "bound_layers": 8, "bound_rows": 4}
    result = main(config(inputs, samples, tmp_path / "out", **asked))
    assert "variances were tuned on test pictures" in capsys.readouterr().out
    assert any(
        "fitted to pictures of this split" in r.meaning for r in readings(Figures.from_json(result))
    )


def test_a_dataset_with_validation_in_the_place_of_test_gives_the_same_figures(
    inputs: Path, tmp_path: Path
) -> None:
    images, labels = (part[:NUM_TEST] for part in digits())
    samples = write_samples(tmp_path / "samples", images, labels)
    renamed = with_validation(load_dataset(inputs / "digits"), tmp_path / "renamed")
    result = main(config(inputs, samples, tmp_path / "out", dataset=renamed))
    assert result["split"] == "validation"
    tested = main(config(inputs, samples, tmp_path / "tested"))
    assert tested["split"] == "test"
    for name in ("frechet", "copies"):
        assert result[name] == tested[name]
    trained = main(config(inputs, samples, tmp_path / "trained", dataset=renamed, split="train"))
    assert trained["frechet"]["train_to_test"] == pytest.approx(0, abs=1e-4)


def test_a_count_that_one_side_lacks_is_refused(inputs: Path, tmp_path: Path) -> None:
    images, labels = (part[:150] for part in digits())
    samples = write_samples(tmp_path / "samples", images, labels)
    with pytest.raises(UserError, match="the test split has only 100 pictures"):
        main(config(inputs, samples, tmp_path / "out", count=150))
    with pytest.raises(UserError, match="the sample set has only 150 pictures"):
        main(config(inputs, samples, tmp_path / "out", count=151))
    assert not (tmp_path / "out" / EVALUATION_FILE).exists()


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
    before = (tmp_path / "out" / EVALUATION_FILE).read_bytes()
    shutil.rmtree(one)
    write_samples(tmp_path / "one", images[20:40], labels[20:40])
    with pytest.raises(UserError, match="samples"):
        main(config(inputs, one, tmp_path / "out"))
    assert (tmp_path / "out" / EVALUATION_FILE).read_bytes() == before
    main(config(inputs, one, tmp_path / "out", overwrite=True))
    assert (tmp_path / "out" / EVALUATION_FILE).read_bytes() != before
