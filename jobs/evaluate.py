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
from pipeline.chain.noise import Purpose, keyed_permutation
from pipeline.chain.schedule import build_schedule, split_layers
from pipeline.classifier import Classifier
from pipeline.errors import UserError
from pipeline.evaluation.frechet import frechet_distance
from pipeline.evaluation.neighbours import find_copies
from pipeline.formats.claim import claim_output
from pipeline.formats.dataset import (
    DatasetInfo,
    check_fits,
    images_of,
    iterate_shards,
    labels_of,
    load_dataset,
)
from pipeline.formats.keyed_sample import keyed_sample
from pipeline.formats.model import CARD_FILE
from pipeline.formats.output import read_json, write_json
from pipeline.formats.sample_set import SampleSet, iterate_samples, open_sample_set
from pipeline.formats.splits import TEST, TRAIN, judged_split, train_split
from pipeline.intervals import clopper_pearson
from pipeline.likelihood import Bound, estimate_bound
from pipeline.pictures import to_signed
from pipeline.stack import Stack
from pipeline.verification.evaluation_check import EVALUATION_FILE

RESULTS_FILE = EVALUATION_FILE
_FIGURES = 2  # what the figures are; 1 had the bound of the test split's first rows
_SIDES = {TRAIN: 0, TEST: 1, "samples": 2}  # each has an order of its own


class EvaluateConfig(JobConfig):
    """Judge a sample set, and the stack that made it, against a dataset."""

    samples: Path = Field(description="the sample set's directory, as generate leaves it")
    dataset: Path = Field(description="the dataset that the stack was trained on")
    classifier: Path = Field(description="a classifier's directory, as train-classifier leaves it")
    model: Path | None = Field(
        None, description="the stack's directory, for the bound in bits/dim; none leaves it out"
    )
    split: str | None = Field(
        None, description="split that samples are held against; none for test, else validation"
    )
    output: Path = Field(description="the directory for evaluation.json")
    overwrite: bool = Field(False, description="replace another config's results in OUTPUT")
    count: int | None = Field(
        None,
        ge=2,
        description="pictures on each side of the Fréchet distance; none for as many as the "
        "samples, the split and the train split all have",
    )
    neighbours: int = Field(
        10_000,
        ge=2,
        description="training pictures searched for near copies, and held-out pictures to compare "
        "with, at most; equal pictures are looked for in the whole train split",
    )
    bound_layers: int = Field(256, ge=8, description="layers T of the chain that is bounded")
    bound_rows: int = Field(
        512, ge=2, description="random held-out pictures that the bound averages over"
    )
    bound_rows_per_layer: int = Field(
        32, ge=2, description="of these, pictures drawn for each layer's term"
    )
    seed: int = Field(0, ge=0, description="keys the draws of rows and of the bound's noise")


def main(config: EvaluateConfig) -> dict[str, Any]:
    """Computes the figures, prints them, writes and returns them."""
    samples = open_sample_set(config.samples)
    info = load_dataset(config.dataset)
    split = judged_split(info, config.split)
    train_split(info, "the evaluation")
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
        "figures": _FIGURES,
        "samples": samples.sha256,
        "dataset": info.sha256,
        **({} if split == TEST else {"split": split}),
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
                "frechet": _frechet(samples, info, split, classifier, config),
                "copies": _copies(samples, info, split, config),
                "bound": None if stack is None else bound_of(stack, info, split, config),
                "split": split,
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
    samples: SampleSet,
    info: DatasetInfo,
    split: str,
    classifier: Classifier,
    config: EvaluateConfig,
) -> dict[str, Any]:
    """Distance of samples to held-out pictures, and of training to held-out ones: the floor."""
    have = {
        "the sample set": samples.num_rows,
        f"the {split} split": info.num_rows(split),
        "the train split": info.num_rows(TRAIN),
    }
    count = config.count or min(have.values())
    for name, rows in have.items():
        if rows < count:
            raise UserError(
                f"--count {count}: {name} has only {rows} pictures, and Fréchet distances compare "
                "at equal counts alone; lower the count or leave it out"
            )
    made = np.concatenate([classifier.features_of(images_of(t)) for t in iterate_samples(samples)])
    test = classifier.features_of(_split(info, split, count, config.seed))
    train = classifier.features_of(_split(info, TRAIN, count, config.seed))
    made = made[_some(len(made), count, "samples", config.seed)]
    distance, floor = frechet_distance(made, test), frechet_distance(train, test)
    return {
        "samples_to_test": distance,
        "train_to_test": floor,
        "ratio_to_floor": distance / floor if floor > 0 else None,
        "count": count,
    }


def _some(num_rows: int, count: int, side: str, seed: int) -> np.ndarray:
    """``count`` keyed rows of ``num_rows``, in their order, int64."""
    order = keyed_permutation(seed, _SIDES[side], Purpose.EVALUATION_ROWS, num_rows)
    return np.sort(order[:count])


def _split(info: DatasetInfo, split: str, count: int, seed: int) -> np.ndarray:
    """``count`` keyed rows of a split, uint8 ``[count, H, W, C]``; a shard at a time."""
    chosen = _some(info.num_rows(split), count, TRAIN if split == TRAIN else TEST, seed)
    parts, first = [], 0
    for table in iterate_shards(info, split, ["image"]):
        inside = chosen[(chosen >= first) & (chosen < first + table.num_rows)] - first
        parts.append(images_of(table)[inside])
        first += table.num_rows
    return np.concatenate(parts)


def _copies(
    samples: SampleSet, info: DatasetInfo, split: str, config: EvaluateConfig
) -> dict[str, Any]:
    made = np.concatenate([images_of(table) for table in iterate_samples(samples, ["image"])])
    return asdict(
        find_copies(
            made,
            _split(info, TRAIN, config.neighbours, config.seed),
            (images_of(table) for table in iterate_shards(info, TRAIN, ["image"])),
            _split(info, split, config.neighbours, config.seed),
        )
    )


def bound_of(stack: Stack, info: DatasetInfo, split: str, config: EvaluateConfig) -> dict[str, Any]:
    """The bound on held-out pictures' likelihood, given their labels: the mean over random ones.

    Args:
        split: what they are from.
        config: its ``model`` is the stack's directory.
    """
    assert config.model is not None
    chosen = keyed_sample(info, split, config.bound_rows, config.seed)
    stages = stack.spec.stages
    bound: Bound = estimate_bound(
        stack,
        build_schedule(stages, split_layers(stages, config.bound_layers)),
        to_signed(chosen.images),
        torch.from_numpy(chosen.labels) if stack.spec.classes else None,
        tau2_after=stack.spec.tau2_after,
        variance=stack.spec.decoder_variance,
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
        "num_pictures": len(chosen.ids),
        "variances_from": read_json(config.model / CARD_FILE).get("errors_measured_on"),
    }


def _tell(result: dict[str, Any]) -> None:
    agreement, frechet, copies = result["agreement"], result["frechet"], result["copies"]
    split = result.get("split", TEST)
    if agreement:
        print(
            f"labels: the classifier gives {agreement['rate']:.1%} of {agreement['asked']:,} "
            f"samples their label (95 % interval {agreement['low95']:.1%} to "
            f"{agreement['high95']:.1%})"
        )
    ratio = frechet["ratio_to_floor"]
    print(
        f"Fréchet distance, {frechet['count']:,} pictures a side: samples to {split} "
        f"{frechet['samples_to_test']:.3f}, floor (train to {split}) "
        f"{frechet['train_to_test']:.3f}, "
        + (
            "no ratio: the floor is 0, the two sides' pictures are the same"
            if ratio is None
            else f"ratio {ratio:.2f}"
        )
    )
    share = copies["num_training"] / copies["num_train_split"]
    print(
        f"copies: {copies['num_exact']:,} of {copies['num_samples']:,} samples equal one of all "
        f"{copies['num_train_split']:,} training pictures; {copies['num_near']:,} equal one, or "
        f"lie as near to one of the {copies['num_training']:,} searched ({share:.1%} of the train "
        "split) as the closest 1 % of these to each other; of real "
        f"{split} pictures "
        f"{copies['num_held_out_exact']:,} and {copies['num_held_out_near']:,} of "
        f"{copies['num_held_out']:,}"
    )
    if result["bound"]:
        bound = result["bound"]
        print(
            f"bound: {bound['bits_per_dim']:.3f} ± {bound['standard_error']:.3f} bits/dim "
            f"with {bound['num_layers']} layers, mean of {bound['num_pictures']:,} random "
            f"{split} pictures ± its standard error"
        )
        if bound["variances_from"] == split:
            print(
                f"warning: this model's variances were tuned on {split} pictures, so the bound "
                "may be too low; a model trained by this version has them from the train split"
            )


COMMAND = Command(EvaluateConfig, main)
if __name__ == "__main__":
    raise SystemExit(COMMAND.run())
