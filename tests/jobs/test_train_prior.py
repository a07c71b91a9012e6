"""Training a prior on two embedding sets: how they are joined, what is kept, what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from digit_set import write_digits
from embedding_sets import ENCODER, LENGTH, PICTURES, WIDTH, embedded, write_embedding_set
from in_this_process import train_here
from pydantic import ValidationError

from jobs.common.batches import EMBEDDED
from jobs.common.vector_data import VectorData
from jobs.train_prior import main
from jobs.train_prior.config import TrainPriorConfig
from pipeline.errors import UserError
from pipeline.formats.dataset import load_dataset
from pipeline.formats.keyed_sample import keyed_sample
from pipeline.formats.metrics import read_metrics
from pipeline.formats.row_embeddings import RowEmbeddings
from pipeline.sampling import sample_vectors
from pipeline.stack import PRIOR, Stack
from pipeline.training.checkpoint import newest_checkpoint
from pipeline.training.errors import measure_errors
from pipeline.verification.directory import verify_directory


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prior")
    info = write_digits(path / "digits", num_train=60, num_test=24, shard_rows=25)
    write_embedding_set(path / "texts", info)
    write_embedding_set(path / "pictures", info, has_tokens=False)
    other = write_digits(path / "others", num_train=30, num_test=8, shard_rows=25)
    write_embedding_set(path / "other_pictures", other, has_tokens=False)
    return path


def config(place: Path, output: Path, **changes: Any) -> TrainPriorConfig:
    values: dict[str, Any] = {
        "dataset": place / "digits",
        "embeddings": place / "texts",
        "targets": place / "pictures",
        "output": output,
        "width": 16,
        "blocks": 1,
        "embedding": 16,
        "steps": 6,
        "batch_size": 8,
        "warmup_steps": 2,
        "checkpoint_every": 3,
        "log_every": 2,
        "layers": 4,
        "rows_per_call": 10,
        "num_workers": 0,
    }
    return TrainPriorConfig(**{**values, **changes})


@pytest.mark.parametrize("condition", ["text", "embedding"])
def test_a_prior_knows_both_encoders_and_is_measured_on_pairs_of_one_row(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, condition: str
) -> None:
    train_here(monkeypatch)
    made = main(config(place, tmp_path / "run", condition=condition))
    prior = Stack.load(made, kind=PRIOR)
    spec = prior.spec
    assert spec.shape == (1, 1, WIDTH)
    assert (spec.condition.kind, spec.condition.encoder) == (condition, ENCODER)
    assert spec.condition.length == (LENGTH if condition == "text" else 0)
    assert spec.attends == ((0,) if condition == "text" else ())
    assert spec.vectors == PICTURES
    rows = keyed_sample(load_dataset(place / "digits"), "train", 512, 0)
    texts = np.stack([embedded(row_id) for row_id in rows.ids])
    texts = texts if condition == "text" else texts[:, 0]
    targets = np.stack([embedded(row_id)[0] for row_id in rows.ids]).astype(np.float32)
    assert spec.sigma_data[0] == pytest.approx(np.sqrt((targets**2).mean()), rel=1e-4)
    assert spec.stages[0].sigma_high == pytest.approx(100 * spec.sigma_data[0])
    pairs = (torch.from_numpy(targets)[:, :, None, None], torch.tensor(texts, dtype=torch.float32))
    for curve, (levels, errors) in zip(
        spec.errors, measure_errors(prior, [pairs], seed=0), strict=True
    ):
        np.testing.assert_allclose(curve.log_sigma, levels)
        np.testing.assert_allclose(curve.mse, errors, rtol=1e-4)
    numbers = np.arange(7)
    drawn = sample_vectors(prior, 0 * numbers, numbers, texts[:7], best_of=2)
    assert drawn.shape == (7, WIDTH)
    assert np.isfinite(drawn).all()
    assert [list(line["loss"]) for line in read_metrics(tmp_path / "run" / "metrics.jsonl")] == [
        ["vectors"]
    ] * 4
    card = json.loads((made / "card.json").read_text())
    assert card["dataset_sha256"] == load_dataset(place / "digits").sha256
    assert not verify_directory(tmp_path / "run").faults
    assert not (tmp_path / "run" / "grid.png").exists()


def test_a_prior_that_was_cut_ends_with_the_same_bits(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_here(monkeypatch)
    whole = main(config(place, tmp_path / "whole"))
    output = tmp_path / "cut"

    def cut(*_: object) -> None:
        raise RuntimeError("cut")

    with monkeypatch.context() as patched:
        patched.setattr("jobs.common.stack_run.draw_progress", cut)
        with pytest.raises(RuntimeError, match="cut"):
            main(config(place, output))
    found = newest_checkpoint(output / "checkpoints")
    assert found is not None
    assert found[0] == 3
    resumed = main(config(place, output))
    assert Stack.load(resumed, kind=PRIOR).sha256 == Stack.load(whole, kind=PRIOR).sha256


def test_a_batch_holds_both_embeddings_of_each_row_on_any_number_of_workers(place: Path) -> None:
    info = load_dataset(place / "digits")
    targets = RowEmbeddings.open(place / "pictures", info, "train", pooled_only=True)
    texts = RowEmbeddings.open(place / "texts", info, "train", pooled_only=False)
    data = VectorData.of(targets, texts, seed=3, batch_size=12)
    ids = {embedded(f"digit-{i}")[0].tobytes(): i for i in range(60)}
    whole = list(data.batches(range(12), range(2, 10)))
    seen = []
    for batch in whole:
        assert batch["image"].shape == (12, 1, 1, WIDTH)
        assert np.array_equal(batch["image"][:, 0, 0], batch[EMBEDDED][:, 0])  # as they were made
        numbers = [ids[vector.tobytes()] for vector in batch["image"][:, 0, 0]]
        due = np.stack([embedded(f"digit-{i}") for i in numbers])
        assert np.array_equal(batch[EMBEDDED], due)
        seen += numbers
    assert len(set(seen)) == 60
    for part in (range(5), range(5, 12)):
        own = data.batches(part, range(2, 10))
        for batch, all_rows in zip(own, whole, strict=True):
            rows = slice(part.start, part.stop)
            assert all(np.array_equal(batch[k], all_rows[k][rows]) for k in batch)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"targets": "other_pictures"}, "was made of another dataset than"),
        ({"embeddings": "digits"}, "embedding set"),
        ({"embeddings": "pictures"}, "have no tokens, which the condition text needs"),
    ],
)
def test_sets_that_do_not_belong_together_are_one_line(
    place: Path, tmp_path: Path, changes: dict[str, str], line: str
) -> None:
    paths = {key: place / name for key, name in changes.items()}
    with pytest.raises(UserError, match=line):
        main(config(place, tmp_path / "run", **paths))


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"width": 12}, "width must be a multiple of 8"),
        ({"embedding": 20}, "embedding must be a multiple of 8"),
        ({"batch_size": 3, "num_workers": 4}, "batch_size is less than num_workers"),
    ],
)
def test_keys_that_do_not_fit_are_refused(
    place: Path, tmp_path: Path, changes: dict[str, int], line: str
) -> None:
    with pytest.raises(ValidationError, match=line):
        config(place, tmp_path, **changes)


def test_a_run_goes_on_only_with_the_same_targets(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_here(monkeypatch)
    main(config(place, tmp_path / "run", condition="embedding"))
    with pytest.raises(UserError, match="another config"):
        main(config(place, tmp_path / "run", condition="embedding", targets=place / "texts"))
