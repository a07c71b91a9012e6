"""What an evaluation finds: one function a figure."""

from dataclasses import asdict
from typing import Any

import numpy as np

from jobs.evaluate.config import EvaluateConfig
from pipeline.chain.permutation import Purpose, keyed_permutation
from pipeline.chain.schedule import build_schedule, split_layers
from pipeline.classifier import Classifier
from pipeline.errors import UserError
from pipeline.evaluation.frechet import frechet_distance
from pipeline.evaluation.neighbours import find_copies
from pipeline.formats.dataset import DatasetInfo, images_of, iterate_shards, labels_of
from pipeline.formats.keyed_sample import keyed_sample
from pipeline.formats.model import CARD_FILE
from pipeline.formats.output import read_json
from pipeline.formats.sample_set import SampleSet, iterate_samples
from pipeline.formats.splits import TEST, TRAIN
from pipeline.intervals import clopper_pearson
from pipeline.likelihood import Bound, estimate_bound
from pipeline.pictures import to_signed
from pipeline.stack import Stack

_SIDES = {TRAIN: 0, TEST: 1, "samples": 2}  # each has an order of its own


def agreement(samples: SampleSet, classifier: Classifier) -> dict[str, Any] | None:
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


def frechet(
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
    features = np.concatenate(
        [classifier.features_of(images_of(t)) for t in iterate_samples(samples)]
    )
    test = classifier.features_of(_split(info, split, count, config.seed))
    train = classifier.features_of(_split(info, TRAIN, count, config.seed))
    features = features[_some(len(features), count, "samples", config.seed)]
    distance, floor = frechet_distance(features, test), frechet_distance(train, test)
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


def copies(
    samples: SampleSet, info: DatasetInfo, split: str, config: EvaluateConfig
) -> dict[str, Any]:
    """How many samples copy a training picture; see `Copies`.

    Args:
        samples: all of them are looked at.
        info: the dataset that the stack was trained on.
        split: of the held-out pictures that are counted in the same way.
        config: how many training pictures are searched, and the seed that chooses them.
    """
    pictures = np.concatenate([images_of(table) for table in iterate_samples(samples, ["image"])])
    return asdict(
        find_copies(
            pictures,
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
        # Drawn on embeddings, a stack is asked for its bound without a condition.
        None
        if stack.spec.condition.rule.embedded
        else stack.spec.condition.rule.read({"label": chosen.labels}),
        tau2_after=stack.spec.tau2_after,
        variance=stack.spec.decoder_variance,
        rows_per_layer=config.bound_rows_per_layer,
        seed=config.seed,
    )
    scale = bound.bits_per_nat
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
