"""The job `train_picture_encoder`: it learns, goes on where it stopped, and on several workers."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from digit_captions import TEXTS, texts_of
from digit_set import digits, write_digits
from in_this_process import train_here

from jobs.common import fitting
from jobs.train_picture_encoder import TrainPictureEncoderConfig, main
from noisestack.flags import read_config
from pipeline.errors import UserError
from pipeline.evaluation.retrieval import Captions, retrieval
from pipeline.formats.dataset import load_dataset
from pipeline.formats.embedding_rows import embedding_table, write_embeddings
from pipeline.formats.embedding_set import shard_file, write_embedding_manifest
from pipeline.formats.encoder_id import EncoderId
from pipeline.formats.metrics import METRICS_FILE, read_metrics
from pipeline.formats.model import open_model
from pipeline.formats.output import read_json
from pipeline.formats.shard import labels_of, read_part
from pipeline.picture_encoder import PictureEncoder
from pipeline.verification.directory import verify_directory

NUM_TEST = 60


def write_texts(dataset: Path, path: Path, encoder: EncoderId = TEXTS) -> Path:
    """The embedding set of the digits' captions; the first row of each shard has none."""
    info, splits = load_dataset(dataset), {}
    for split, shards in info.splits.items():
        splits[split] = []
        for number, shard in enumerate(shards):
            rows = read_part(info.path / shard.file, 0, shard.num_rows, ["id", "label"])
            pooled = texts_of(labels_of(rows))
            pooled[0] = 0
            table = embedding_table(rows.column("id").to_pylist(), pooled)
            splits[split].append(write_embeddings(table, path, shard_file(split, number)))
    write_embedding_manifest(
        path,
        dataset_sha256=info.sha256,
        encoder=encoder,
        splits=splits,
        has_tokens=False,
        num_cut=0,
        origin={},
    )
    return path


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inputs")
    write_digits(path / "digits", num_train=500, num_test=NUM_TEST)
    write_texts(path / "digits", path / "texts")
    return path


@pytest.fixture(autouse=True)
def _without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    train_here(monkeypatch)


def config(inputs: Path, output: Path, **change: object) -> TrainPictureEncoderConfig:
    values: dict[str, object] = {
        "dataset": inputs / "digits",
        "embeddings": inputs / "texts",
        "output": output,
        "steps": 12,
        "batch_size": 32,
        "widths": (8, 16),
        "pooled": False,
        "max_shift": 1,
        "log_every": 3,
        "checkpoint_every": 4,
        "num_workers": 0,
        **change,
    }
    return TrainPictureEncoderConfig(**values)


def test_a_run_publishes_an_encoder_with_what_it_finds_and_can_be_given_again(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = config(inputs, tmp_path / "run", steps=45, learning_rate=1e-2, max_shift=0)
    path = main(run)
    encoder = PictureEncoder.load(path)
    assert encoder.text_encoder == TEXTS
    card = read_json(path / "card.json")
    images, labels = (part[-NUM_TEST + 1 :] for part in digits())  # the first has no caption
    texts = texts_of(labels)
    found = retrieval(encoder.encode(images), texts, Captions(texts), seed=run.seed)
    assert card["retrieval"] == found.to_json()
    assert (found.num_pictures, found.num_captions) == (NUM_TEST - 1, 10)
    assert found.recall[1].rate > 0.7  # a guess is right on 0.1
    assert card["training"]["steps"] == 45
    said = capsys.readouterr().out
    assert "picture encoder: step 45 of 45, loss" in said
    assert f"test: R@1 {found.recall[1].rate:.1%} (" in said
    assert "of 59 pictures among 10 captions, mean cosine with their own" in said
    assert (tmp_path / "run" / "losses.png").is_file()
    assert not verify_directory(tmp_path / "run").faults.lines()
    before = (path / "card.json").stat().st_mtime_ns
    assert main(run) == path
    assert (path / "card.json").stat().st_mtime_ns == before
    with pytest.raises(UserError, match="seed is 0 there and 1 here"):
        main(run.model_copy(update={"seed": 1}))


def test_an_interrupted_run_ends_with_the_same_model_as_one_without_interruption(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = fitting.save_checkpoint

    def interrupted(directory: Path, step: int, tensors: dict[str, torch.Tensor]) -> Path:
        path = save(directory, step, tensors)
        if step == 8:
            raise KeyboardInterrupt
        return path

    main(config(inputs, tmp_path / "whole", ema_halflife=64))
    with monkeypatch.context() as patch:
        patch.setattr(fitting, "save_checkpoint", interrupted)
        with pytest.raises(KeyboardInterrupt):
            main(config(inputs, tmp_path / "parts", ema_halflife=64))
    main(config(inputs, tmp_path / "parts", ema_halflife=64))
    whole, parts = (PictureEncoder.load(tmp_path / name / "model") for name in ("whole", "parts"))
    assert parts.sha256 == whole.sha256
    steps = [line["step"] for line in read_metrics(tmp_path / "parts" / METRICS_FILE)]
    assert steps == [1, 3, 4, 6, 8, 9, 12]


def test_workers_that_share_a_batch_take_the_steps_of_one_process(
    inputs: Path, tmp_path: Path
) -> None:
    """The loss couples a batch's rows: each is held against 31 others, and not its worker's 15."""
    # Adam's step is as large for a gradient of rounding errors as for another: few steps, low rate.
    asked = {"steps": 4, "learning_rate": 1e-4}
    models = [
        open_model(
            main(config(inputs, tmp_path / name, num_workers=num, **asked)), "picture_encoder"
        )
        for name, num in (("one", 0), ("two", 2))
    ]
    one, two = (model.weights("picture_encoder") for model in models)
    torch.manual_seed(0)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=2e-6)
    losses = [
        [line["loss"] for line in read_metrics(tmp_path / name / METRICS_FILE)]
        for name in ("one", "two")
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_what_does_not_fit_is_refused_before_anything_is_written(
    inputs: Path, tmp_path: Path
) -> None:
    pictures = replace(TEXTS, pooling="picture", max_length=0, tokenizer_sha256="")
    write_texts(inputs / "digits", tmp_path / "pictures", pictures)
    for change, message in (
        ({"embeddings": tmp_path / "pictures"}, "holds embeddings of pictures"),
        ({"embeddings": inputs / "digits"}, "embedding set"),
        ({"num_workers": 3}, "batch_size 32 cannot be split evenly over 3 workers"),
        ({"split": "validation"}, "has no split 'validation'"),
    ):
        with pytest.raises(UserError, match=message):
            main(config(inputs, tmp_path / "run", **change))
    assert not (tmp_path / "run").exists()


def test_the_command_line_gives_the_config() -> None:
    line = ["--dataset", "d", "--embeddings", "e", "--output", "o", "--widths", "16,32"]
    assert read_config(TrainPictureEncoderConfig, line, "train-picture-encoder").widths == (16, 32)
