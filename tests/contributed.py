"""Runs in a copy of the house that has what CONTRIBUTING.md adds: uses each of the seven things.

`tests/test_contributing.py` starts it; the last line of its output is a JSON object that holds for
each kind of thing "" or what went wrong.
"""

import contextlib
import io
import json
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from digit_set import CLASSES, digits, write_digits
from small_stack import SPEC, small_stack

import noisestack as ns
from noisestack.__main__ import main
from pipeline.conditions import CONDITIONS, ConditionSpec
from pipeline.formats.dataset import load_dataset
from pipeline.pictures import to_signed
from pipeline.sampling import SamplingOptions, sample
from pipeline.stack import Stack, save_stack
from pipeline.stack_spec import StackSpec
from pipeline.training.trainer import Recipe, StackTrainer
from pipeline.training.weighting import WEIGHTINGS

ROWS = np.arange(4)


def printed(*arguments: str) -> str:
    """What a command prints that ends well."""
    with contextlib.redirect_stdout(io.StringIO()) as page:
        try:
            code = main(arguments)
        except SystemExit as stopped:
            code = int(stopped.code or 0)
    assert code == 0, arguments
    return " ".join(page.getvalue().split())


def trained(spec: StackSpec, place: Path) -> Stack:
    """A stack after one step, stored and loaded; each of its weights has moved."""
    recipe = Recipe(
        num_steps=1, batch_size=4, stage_share=(1.0, 1.0), learning_rate=0.01, warmup_steps=1,
        ema_halflife=1.0, drop_condition=0.2, gradient_clip=1.0, weighting=WEIGHTINGS["edm"],
        seed=0,
    )  # fmt: skip
    stack = Stack.fresh(spec, 0)
    before = {name: p.detach().clone() for name, p in stack.named_parameters()}
    trainer = StackTrainer(stack, recipe)
    images, labels = digits()
    losses = trainer.update(to_signed(images[:4]), spec.condition.rule.read({"label": labels[:4]}))
    assert all(0 < loss < 100 for loss in losses)
    assert any(not torch.equal(p, before[name]) for name, p in stack.named_parameters())
    save_stack(stack, trainer.ema, place, {})
    loaded = Stack.load(place)
    assert loaded.spec == spec
    drawn = [sample(s, ROWS, ROWS, ROWS % 2) for s in (loaded, trainer.averaged())]
    assert np.array_equal(*drawn)
    return loaded


def check_sampler(place: Path) -> None:
    from serve.schema import ImageRequest

    assert "midpoint" in printed("generate", "--help")
    assert "midpoint" in json.dumps(ImageRequest.model_json_schema())
    stack = small_stack()
    drawn = {
        name: sample(stack, ROWS, ROWS, ROWS % 3, SamplingOptions(sampler=name, layers=(32, 32)))
        for name in ("midpoint", "heun", "ddim")
    }
    apart = {name: np.abs(drawn["midpoint"] - x.astype(float)).mean() for name, x in drawn.items()}
    assert 0 < apart["heun"] < apart["ddim"]  # the two of second order are near one another


def check_attack(place: Path) -> None:
    from digit_models import fitted_network
    from perturbation_faults import make_shards, settings

    from pipeline.classifier import save_classifier

    assert "sign_noise" in printed("perturb", "--help")
    write_digits(place / "digits", num_train=20, num_test=12, shard_rows=20)
    save_classifier(place / "classifier", fitted_network(steps=25), CLASSES, {})
    attack = settings(attack="sign_noise", eps_levels=90, steps=20)
    (record,) = make_shards(place, place / "set", attack, 12, stop=12)
    assert record["num_rows"] == 12
    assert 0 < record["successes"] <= record["clean_right"]
    assert record["linf_max"] == 90


def check_source(place: Path) -> None:
    from jobs.ingest.config import IngestConfig
    from pipeline.formats.dataset import write_dataset_info
    from pipeline.formats.shard import images_of, labels_of, read_part, shards_from_json
    from pipeline.sources.shape import shape_of
    from pipeline.sources.writer import ShardWriter

    assert "stripes: random, no input" in printed("ingest", "--help")
    config = IngestConfig(source="stripes", output=place)
    source, decoder = config.open_source(), config.decoder()
    shape, first = shape_of(source, decoder, quarantine=False)
    writer = ShardWriter(source, decoder, shape, first, config.division(source), place, False)
    made = writer({"file": "part-00000.parquet", "start": 0, "num_rows": 200})
    splits = {file["split"]: shards_from_json([file], place) for file in made["files"]}
    write_dataset_info(
        place, shape=shape, classes=source.classes, splits=splits, has_captions=False, origin={}
    )
    info = load_dataset(place)
    assert {split: info.num_rows(split) for split in info.splits} == {"test": 40, "train": 160}
    table = read_part(place / info.splits["test"][0].file, 0, 40, ["image", "label"])
    standing = (images_of(table) == images_of(table)[:, :1]).all(axis=(1, 2, 3))
    assert np.array_equal(standing, labels_of(table) == 1)


def check_network(place: Path) -> None:
    assert "tiny: two convolutions" in printed("train-stack", "--help")
    condition = ConditionSpec("label", len(CLASSES))
    spec = replace(SPEC, network="tiny", dropout=0.05, classes=CLASSES, condition=condition)
    stack = trained(spec, place / "model")
    assert json.loads((place / "model" / "config.json").read_text())["network"] == "tiny"
    assert sorted(stack.networks) == ["stage_4", "stage_8"]


def check_objective(place: Path) -> None:
    from digit_models import fitted_network

    from jobs.train_classifier.config import TrainClassifierConfig

    assert "smoothed: labels" in printed("train-classifier", "--help")
    config = TrainClassifierConfig(dataset=place, output=place, adversarial_loss="smoothed")
    assert not config.is_adversarial  # its accuracy is of pictures as they are, and no PGD is run
    images, labels = digits()
    network = fitted_network(steps=25, objective=config.objective())
    with torch.no_grad():
        logits = network(torch.from_numpy(images[-360:].transpose(0, 3, 1, 2) / np.float32(255)))
    assert (logits.argmax(1).numpy() == labels[-360:]).mean() > 0.5


def check_condition(place: Path) -> None:
    assert "pair: their class and its neighbour" in printed("train-stack", "--help")
    info = write_digits(place / "digits", num_train=20, num_test=10, shard_rows=20)
    condition = ConditionSpec("pair", CONDITIONS["pair"].kind.size_for(info))
    assert condition.to_json() == {"kind": "pair", "size": 5}
    spec = replace(SPEC, classes=CLASSES, condition=condition)
    trained(spec, place / "model")
    stack = small_stack(classes=CLASSES, condition=condition)
    zero, one, two = (sample(stack, ROWS, ROWS, np.full(4, label)) for label in range(3))
    assert np.array_equal(zero, one)
    assert not np.array_equal(one, two)


def check_job(place: Path) -> None:
    write_digits(place / "digits", num_train=20, num_test=10, shard_rows=20)
    assert "count-rows how many rows each split has" in printed("--help")
    assert "--dataset PATH" in printed("count-rows", "--help")
    told = printed("count-rows", "--dataset", str(place / "digits"))
    assert told == "train: 20 rows test: 10 rows"
    assert "count_rows" in dir(ns.jobs)


def outcome(check: Callable[[Path], None], place: Path) -> str:
    place.mkdir(parents=True)
    try:
        check(place)
    except Exception:
        return traceback.format_exc()
    return ""


if __name__ == "__main__":
    torch.set_num_threads(1)
    kinds = ("sampler", "attack", "source", "network", "objective", "condition", "job")
    told = {kind: outcome(globals()[f"check_{kind}"], Path(sys.argv[1], kind)) for kind in kinds}
    print(json.dumps(told))
