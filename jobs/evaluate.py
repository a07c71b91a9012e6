"""Judges a sample set: labels, Fréchet distance, copies of training pictures, and the bound."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field

from noisestack.command import Command
from noisestack.config import JobConfig
from pipeline.chain.noise import keyed_permutation
from pipeline.chain.schedule import build_schedule, split_layers
from pipeline.classifier import Classifier
from pipeline.errors import UserError
from pipeline.evaluation.frechet import frechet_distance
from pipeline.evaluation.neighbours import find_copies
from pipeline.formats.dataset import (
    DatasetInfo,
    check_fits,
    images_of,
    iterate_shards,
    labels_of,
    load_dataset,
)
from pipeline.formats.output import claim_output, read_json, write_json
from pipeline.formats.sample_set import SampleSet, iterate_samples, open_sample_set
from pipeline.intervals import clopper_pearson
from pipeline.likelihood import Bound, estimate_bound, tuned_variances
from pipeline.pictures import to_signed
from pipeline.stack import Stack

RESULTS_FILE = "evaluation.json"


class EvaluateConfig(JobConfig):
    """Judge a sample set, and the stack that made it, against a dataset."""

    samples: Path = Field(description="the sample set's directory, as generate leaves it")
    dataset: Path = Field(description="the dataset that the stack was trained on")
    classifier: Path = Field(description="a classifier's directory, as train-classifier leaves it")
    model: Path | None = Field(
        None, description="the stack's directory, for the bound in bits/dim; none leaves it out"
    )
    output: Path = Field(description="the directory for evaluation.json")
    overwrite: bool = Field(False, description="replace another config's results in OUTPUT")
    count: int | None = Field(
        None,
        ge=2,
        description="pictures on each side of the Fréchet distance; none for as many as the "
        "samples, the test and the train split all have",
    )
    neighbours: int = Field(
        10_000, ge=2, description="training and test pictures searched for copies, at most"
    )
    bound_layers: int = Field(256, ge=8, description="layers T of the chain that is bounded")
    bound_rows: int = Field(512, ge=2, description="test pictures that the bound averages over")
    bound_rows_per_layer: int = Field(
        32, ge=2, description="of these, pictures drawn for each layer's term"
    )
    seed: int = Field(0, ge=0, description="keys the draws of rows and of the bound's noise")


def main(config: EvaluateConfig) -> dict[str, Any]:
    """Computes the figures, prints them, writes and returns them."""
    samples = open_sample_set(config.samples)
    info = load_dataset(config.dataset)
    classifier = Classifier.load(config.classifier)
    check_fits(
        info,
        shape=classifier.shape,
        classes=classifier.classes,
        what=f"the classifier {config.classifier}",
    )
    check_fits(
        info,
        shape=samples.shape,
        classes=samples.classes or info.classes,
        what=f"the sample set {samples.path}",
    )
    stack = None if config.model is None else Stack.load(config.model)
    if stack is not None and samples.origin.get("model_sha256") != stack.sha256:
        raise UserError(f"{samples.path} was made by another model than {config.model}")
    parts = {
        "job": "evaluate",
        "samples": samples.sha256,
        "dataset": info.sha256,
        "classifier": classifier.sha256,
        "model": stack.sha256 if stack else None,
        **config.model_dump(
            mode="json",
            include={
                "count",
                "neighbours",
                "bound_layers",
                "bound_rows",
                "bound_rows_per_layer",
                "seed",
            },
        ),
    }
    with claim_output(
        config.output, parts, overwrite=config.overwrite, marker=RESULTS_FILE
    ) as output:
        if output.finished:
            result: dict[str, Any] = read_json(output.directory / RESULTS_FILE)
        else:
            result = {
                "agreement": _agreement(samples, classifier),
                "frechet": _frechet(samples, info, classifier, config),
                "copies": _copies(samples, info, config),
                "bound": None if stack is None else _bound(stack, info, config),
                "made_from": parts,
            }
            write_json(output.directory / RESULTS_FILE, result)
    _tell(result)
    print(f"the figures are in {output.path / RESULTS_FILE}")
    return result


def _agreement(samples: SampleSet, classifier: Classifier) -> dict[str, Any] | None:
    """How many samples the classifier gives the label that they were drawn on."""
    right = asked = 0
    for table in iterate_samples(samples):
        labels = labels_of(table)
        labelled = labels >= 0
        if labelled.any():
            guesses = classifier.predict(images_of(table)[labelled])
            right += int((guesses == labels[labelled]).sum())
            asked += int(labelled.sum())
    if asked == 0:
        return None
    low, high = clopper_pearson(right, asked)
    return {"rate": right / asked, "right": right, "asked": asked, "low95": low, "high95": high}


def _frechet(
    samples: SampleSet, info: DatasetInfo, classifier: Classifier, config: EvaluateConfig
) -> dict[str, Any]:
    """Distance of samples to test pictures, and of training to test pictures: the floor."""
    have = {
        "the sample set": samples.num_rows,
        "the test split": info.num_rows("test"),
        "the train split": info.num_rows("train"),
    }
    count = config.count or min(have.values())
    for name, rows in have.items():
        if rows < count:
            raise UserError(
                f"--count {count}: {name} has only {rows} pictures, and Fréchet distances compare "
                "at equal counts alone; lower the count or leave it out"
            )
    made = np.concatenate([classifier.features_of(images_of(t)) for t in iterate_samples(samples)])
    test = classifier.features_of(_split(info, "test", count, config.seed))
    train = classifier.features_of(_split(info, "train", count, config.seed))
    made = made[np.sort(keyed_permutation(config.seed, 2, len(made))[:count])]
    distance, floor = frechet_distance(made, test), frechet_distance(train, test)
    return {
        "samples_to_test": distance,
        "train_to_test": floor,
        "ratio_to_floor": distance / floor,
        "count": count,
    }


def _split(info: DatasetInfo, split: str, count: int, seed: int) -> np.ndarray:
    """``count`` keyed rows of a split, uint8 ``[count, H, W, C]``; a shard at a time."""
    chosen = np.sort(keyed_permutation(seed, 1, info.num_rows(split))[:count])
    parts, first = [], 0
    for table in iterate_shards(info, split, ["image"]):
        inside = chosen[(chosen >= first) & (chosen < first + table.num_rows)] - first
        parts.append(images_of(table)[inside])
        first += table.num_rows
    return np.concatenate(parts)


def _copies(samples: SampleSet, info: DatasetInfo, config: EvaluateConfig) -> dict[str, Any]:
    training = _split(info, "train", config.neighbours, config.seed)
    held_out = _split(info, "test", config.neighbours, config.seed)
    made = np.concatenate([images_of(table) for table in iterate_samples(samples, ["image"])])
    return {**asdict(find_copies(made, training, held_out)), "num_training": len(training)}


def _bound(stack: Stack, info: DatasetInfo, config: EvaluateConfig) -> dict[str, Any]:
    """The bound on the test pictures' likelihood, given their labels."""
    rows, labels = [], []
    for table in iterate_shards(info, "test"):
        rows.append(images_of(table))
        labels.append(labels_of(table))
        if sum(map(len, rows)) >= config.bound_rows:
            break
    x = to_signed(np.concatenate(rows)[: config.bound_rows])
    c = torch.from_numpy(np.concatenate(labels)[: config.bound_rows].copy())
    stages = stack.spec.stages
    bound: Bound = estimate_bound(
        stack,
        build_schedule(stages, split_layers(stages, config.bound_layers)),
        x,
        c if stack.spec.classes else None,
        tau2_after=stack.spec.tau2_after,
        variance=tuned_variances(stack.spec),
        rows_per_layer=config.bound_rows_per_layer,
        seed=config.seed,
    )
    scale = 1 / bound.num_coefficients / math.log(2)
    return {
        "bits_per_dim": bound.bits_per_dim,
        "standard_error": bound.standard_error_bits_per_dim,
        "prior_bits_per_dim": bound.prior * scale,
        "layers_bits_per_dim": sum(bound.layers) * scale,
        "reconstruction_bits_per_dim": bound.reconstruction * scale,
        "num_layers": config.bound_layers,
        "num_pictures": len(x),
    }


def _tell(result: dict[str, Any]) -> None:
    agreement, frechet, copies = result["agreement"], result["frechet"], result["copies"]
    if agreement:
        print(
            f"labels: the classifier gives {agreement['rate']:.1%} of {agreement['asked']:,} "
            f"samples their label (95 % interval {agreement['low95']:.1%} to "
            f"{agreement['high95']:.1%})"
        )
    print(
        f"Fréchet distance, {frechet['count']:,} pictures a side: samples to test "
        f"{frechet['samples_to_test']:.3f}, floor (train to test) {frechet['train_to_test']:.3f}, "
        f"ratio {frechet['ratio_to_floor']:.2f}"
    )
    print(
        f"copies: {copies['num_near']:,} of {copies['num_samples']:,} samples lie nearer to a "
        "training picture than the closest 1 % of training pictures to each other; "
        f"of real test pictures {copies['num_held_out_near']:,} of {copies['num_held_out']:,}"
    )
    if result["bound"]:
        bound = result["bound"]
        print(
            f"bound: {bound['bits_per_dim']:.3f} ± {bound['standard_error']:.3f} bits/dim "
            f"with {bound['num_layers']} layers"
        )


COMMAND = Command(EvaluateConfig, main)
if __name__ == "__main__":
    raise SystemExit(COMMAND.run())
