"""Training a stack on an embedding set: what the model knows of it, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from digit_set import write_digits
from embedding_sets import ENCODER, LENGTH, PICTURES, WIDTH, embedded, write_embedding_set
from in_this_process import train_here
from PIL import Image
from pydantic import ValidationError

from jobs.train_stack import main
from jobs.train_stack.config import TrainStackConfig
from pipeline.errors import UserError
from pipeline.formats.dataset import load_dataset
from pipeline.formats.keyed_sample import keyed_sample
from pipeline.pictures import display_scale, grid, to_signed
from pipeline.sampling import sample
from pipeline.stack import Stack
from pipeline.training.errors import measure_errors


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("on_embeddings")
    info = write_digits(path / "digits", num_train=60, num_test=24, shard_rows=25)
    write_embedding_set(path / "texts", info)
    write_embedding_set(path / "pictures", info, has_tokens=False)
    return path


def config(place: Path, output: Path, **changes: Any) -> TrainStackConfig:
    values: dict[str, Any] = {
        "dataset": place / "digits",
        "output": output,
        "condition": "text",
        "embeddings": place / "texts",
        "stages": (4, 8),
        "widths": (8, 8),
        "blocks": (1, 1),
        "embedding": 8,
        "steps": 4,
        "batch_size": 8,
        "warmup_steps": 2,
        "grid_rows": 1,
        "layers": (1, 2),
        "rows_per_call": 10,
        "num_workers": 0,
    }
    return TrainStackConfig(**{**values, **changes})


@pytest.mark.parametrize(
    ("condition", "embeddings", "encoder", "length"),
    [
        ("text", "texts", ENCODER, LENGTH),
        ("embedding", "texts", ENCODER, 0),
        ("embedding", "pictures", PICTURES, 0),
    ],
)
def test_a_model_knows_whose_embeddings_it_was_trained_on_and_is_measured_on_them(
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    condition: str,
    embeddings: str,
    encoder: object,
    length: int,
) -> None:
    train_here(monkeypatch)
    made = main(config(place, tmp_path / "run", condition=condition, embeddings=place / embeddings))
    stack = Stack.load(made)
    spec = stack.spec.condition
    assert (spec.kind, spec.size, spec.length, spec.encoder) == (condition, WIDTH, length, encoder)
    assert stack.spec.attends == ((0, 1) if condition == "text" else ())
    assert stack.classes == ()
    rows = keyed_sample(load_dataset(place / "digits"), "train", 512, 0)
    own = np.stack([embedded(row_id) for row_id in rows.ids])
    own = own if condition == "text" else own[:, 0]
    found = measure_errors(
        stack, [(to_signed(rows.images), torch.tensor(own, dtype=torch.float32))], seed=0
    )
    for curve, (levels, errors) in zip(stack.spec.errors, found, strict=True):
        np.testing.assert_allclose(curve.log_sigma, levels)
        np.testing.assert_allclose(curve.mse, errors, rtol=1e-5)
    first = np.stack([embedded(f"digit-{i}") for i in range(8)])
    drawn = sample(
        stack, np.zeros(8, int), np.arange(8), first if condition == "text" else first[:, 0]
    )
    with Image.open(tmp_path / "run" / "grid.png") as image:
        due = grid(drawn, 8, scale=display_scale(8))
        np.testing.assert_array_equal(np.asarray(image), np.asarray(due))


def test_words_are_attended_to_where_the_config_says(place: Path, tmp_path: Path) -> None:
    assert config(place, tmp_path).attends() == (0, 1)  # up to 16 pixels
    assert config(place, tmp_path, cross_attention=(4,)).attends() == (0,)
    assert config(place, tmp_path, cross_attention=()).attends() == ()


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"embeddings": None}, "condition text needs embeddings: make a set with `noisestack emb"),
        ({"condition": "label"}, "embeddings is for pictures that are drawn on them"),
        (
            {"condition": "embedding", "cross_attention": (4,)},
            "cross_attention is for condition text: embedding has no words",
        ),
        ({"cross_attention": (16,)}, "cross_attention names 16 pixels, and stages are 4, 8"),
    ],
)
def test_embeddings_that_do_not_fit_the_condition_are_refused(
    place: Path, tmp_path: Path, changes: dict[str, Any], line: str
) -> None:
    with pytest.raises(ValidationError, match=line):
        config(place, tmp_path, **changes)


def test_a_condition_of_words_is_refused_for_pictures_embeddings(
    place: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="have no tokens, which the condition text needs"):
        main(config(place, tmp_path / "run", embeddings=place / "pictures"))
    assert not (tmp_path / "run" / "model").exists()


def test_a_run_goes_on_only_with_the_same_embeddings(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_here(monkeypatch)
    output = tmp_path / "run"
    main(config(place, output, condition="embedding", embeddings=place / "texts"))
    with pytest.raises(UserError, match="another config"):
        main(config(place, output, condition="embedding", embeddings=place / "pictures"))
