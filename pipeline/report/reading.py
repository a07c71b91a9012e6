"""Explains each figure for a newcomer: its value, its meaning, and which values are good."""

from dataclasses import dataclass

from pipeline.errors import UserError
from pipeline.evaluation.frechet import RATIO_BELOW_ONE
from pipeline.evaluation.neighbours import Copies
from pipeline.intervals import clopper_pearson
from pipeline.report.data import (
    Agreement,
    Figures,
    Frechet,
    LikelihoodBound,
    Robustness,
)

_SPACE = "\N{NO-BREAK SPACE}"
# The marks of a good run on the embedded digits.
_AGREEMENT_MARK = 0.95
_RATIO_MARK = 3.0
_ROBUST_MARK = 0.5  # robust accuracy, of the clean one


@dataclass(frozen=True)
class Reading:
    """A figure for a person.

    Attributes:
        name, value: in the table.
        meaning: how to read it.
        mark: which values are good; empty for a figure that has no such mark.
        good: whether the value is good; None without a mark.
    """

    name: str
    value: str
    meaning: str
    mark: str = ""
    good: bool | None = None


@dataclass(frozen=True)
class Headline:
    """A figure at the top of the page: name, value, one line below it; ``good`` as in Reading."""

    name: str
    value: str
    note: str
    good: bool | None = None


def percent(share: float) -> str:
    """A share in [0, 1] as a percentage with one decimal."""
    return f"{100 * share:.1f}{_SPACE}%"


def headlines(figures: Figures) -> list[Headline]:
    """The headlines of the figures that were measured."""
    lines: list[Headline] = []
    if a := figures.agreement:
        interval = f"95 % interval {percent(a.low95)} to {percent(a.high95)}"
        lines.append(Headline("Label agreement", percent(a.rate), interval, _agrees(a)))
    if f := figures.frechet:
        note = "the floor is 0"
        if f.ratio_to_floor is not None:
            note = f"{f.ratio_to_floor:.2f} × the floor of {f.train_to_test:.3g}"
        lines.append(Headline("Fréchet distance", f"{f.samples_to_test:.3g}", note, _near_floor(f)))
    if c := figures.copies:
        note = f"of {c.num_samples:,} samples, {c.num_exact:,} of them equal to a training picture"
        lines.append(Headline("Near-copies", f"{c.num_near:,}", note, _is_new(c)))
    if b := figures.bound:
        note = f"± {b.standard_error:.2f} bits/dim, an upper bound"
        lines.append(Headline("Code length", f"{b.bits_per_dim:.2f}", note))
    if r := figures.robustness:
        value = f"{_short(r.clean_accuracy)} → {_short(r.robust_accuracy)}"
        note = f"accuracy, clean → under {_name(r)} at {r.eps}/255"
        lines.append(Headline("Classifier attacked", value, note, _fools(r)))
    return lines


def readings(figures: Figures) -> list[Reading]:
    """An explanation of each figure that was measured."""
    lines: list[Reading] = []
    if figures.agreement:
        lines += _agreement(figures.agreement)
    if figures.frechet:
        lines += _frechet(figures.frechet)
    if figures.copies:
        lines += _copies(figures.copies)
    if figures.bound:
        lines += _bound(figures.bound)
    if figures.robustness:
        lines += _robustness(figures.robustness)
    return lines


def ball(robustness: Robustness) -> str:
    """In words, how far a perturbed picture may lie from its original."""
    eps = robustness.eps
    match robustness.norm:
        case "linf":
            bound = f"no value of a pixel moves by more than {eps} of 255 levels"
            measure = "the largest change of a value"
        case "l2":
            bound = f"the change as a whole is no longer than {eps}/255 (Euclidean)"
            measure = "the change's length (Euclidean)"
        case "l1":
            bound = f"the changes of all values add up to at most {eps}/255"
            measure = "the sum of the values' changes"
        case _:
            raise UserError(f"there is no norm {robustness.norm!r} that a report could describe")
    return bound if eps else f"as near as the attack finds one; {measure} has no bound"


def _agreement(a: Agreement) -> list[Reading]:
    return [
        Reading(
            "Label agreement",
            f"{percent(a.rate)} ({a.right:,} of {a.asked:,})",
            "The share of samples to which a classifier, trained on real pictures only, gives the "
            "class they were drawn as. It says that samples can be recognised, not that they "
            "differ from one another.",
            f"{_short(_AGREEMENT_MARK)} or more",
            _agrees(a),
        ),
        Reading(
            "… its 95 % interval",
            f"{percent(a.low95)} to {percent(a.high95)}",
            "Other samples of the same stack would have given a slightly different share; an "
            "interval made in this way holds the true one at least 95 times in 100.",
        ),
    ]


def _frechet(f: Frechet) -> list[Reading]:
    return [
        Reading(
            "Fréchet distance",
            f"{f.samples_to_test:.4g}",
            f"How far {f.count:,} samples, as a crowd, lie from {f.count:,} real test pictures in "
            "the features of the classifier. Poor pictures raise it, and so does missing variety. "
            "It only compares with distances on the same features and at the same count.",
        ),
        Reading(
            "… the floor",
            f"{f.train_to_test:.4g}",
            "The same distance between real training and real test pictures: about what perfect "
            "samples would get.",
        ),
        Reading(
            "… ratio to the floor",
            "none" if f.ratio_to_floor is None else f"{f.ratio_to_floor:.2f}",
            f"The distance in units of the floor: 1 is as good as real pictures.{_below_floor(f)}"
            if f.ratio_to_floor is not None
            else "The floor is 0: as features see them, train and test pictures are the same.",
            f"{_RATIO_MARK:.0f} or less" if f.ratio_to_floor is not None else "",
            _near_floor(f),
        ),
    ]


def _copies(c: Copies) -> list[Reading]:
    near = "that are equal to a training picture."
    if c.threshold is not None:
        near = (
            "that are equal to a training picture, or lie within a Euclidean distance of "
            f"{c.threshold:.3g} (pixels from 0 to 1) of one of {c.num_training:,} that were "
            f"searched, {percent(c.num_training / c.num_train_split)} of the train split. Within "
            "that distance, 1 % of the searched pictures have another of them."
        )
    lines = [
        Reading(
            "Near-copies",
            f"{c.num_near:,} of {c.num_samples:,}",
            f"Samples {near} Many near-copies would mean that the stack has learnt its pictures by "
            f"heart. Of {c.num_held_out:,} real test pictures, which it never saw, "
            f"{c.num_held_out_near:,} count as near-copies.",
            f"a share of at most {percent(_real_share(c))}: the upper end of the 95 % interval of "
            "the test pictures' share",
            _is_new(c),
        ),
        Reading(
            "… equal pictures",
            f"{c.num_exact:,} of {c.num_samples:,}",
            f"Samples that equal one of all {c.num_train_split:,} training pictures in every "
            f"value. Of {c.num_held_out:,} real test pictures, {c.num_held_out_exact:,} do.",
        ),
    ]
    if c.median_training is not None:
        lines.append(
            Reading(
                "… typical distances",
                f"{c.median_sample:.3g} and {c.median_training:.3g}",
                f"The median distance from a sample to the nearest of the {c.num_training:,} "
                "training pictures searched, and from one of these to the nearest different one. "
                "Alike is good: far less would be copying, far more would be pictures unlike the "
                "data.",
            )
        )
    return lines


def _bound(b: LikelihoodBound) -> list[Reading]:
    return [
        Reading(
            "Code length, bits/dim",
            f"{b.bits_per_dim:.3f} ± {b.standard_error:.3f}",
            "A lossless code built on this stack needs at most so many bits for each pixel and "
            f"channel of a test picture, on average (± one standard error of the mean over "
            f"{b.num_pictures:,} random ones; {b.num_layers:,} layers). An uncompressed file takes "
            f"8; lower is better.{_variances_note(b)}",
        ),
        Reading(
            "… its parts",
            f"{b.prior_bits_per_dim:.3f} + {b.layers_bits_per_dim:.3f} "
            f"+ {b.reconstruction_bits_per_dim:.3f}",
            "Bits for the noise at the bottom, for the layers of the stack, and for the last step "
            "to whole pixel values. The first should be next to nothing.",
        ),
    ]


def _variances_note(b: LikelihoodBound) -> str:
    if b.variances_from in (None, "train"):
        return ""
    return (
        " The model's variances were fitted to pictures of this split: the figure may be too low."
    )


def _robustness(r: Robustness) -> list[Reading]:
    low, high = r.robust_interval_95
    return [
        Reading(
            "Clean accuracy",
            percent(r.clean_accuracy),
            f"The share of {r.num_rows:,} real pictures that the classifier gets right "
            f"(95 % interval {percent(r.clean_interval_95[0])} to "
            f"{percent(r.clean_interval_95[1])}).",
        ),
        Reading(
            "Robust accuracy",
            percent(r.robust_accuracy),
            f"The share that it gets right before and after {_name(r)} of {r.steps:,} "
            f"{'step' if r.steps == 1 else 'steps'}, where {ball(r)} "
            f"(95 % interval {percent(low)} to {percent(high)}). Low means that the attack works: "
            "an ordinary classifier has never learnt to resist.",
            "half the clean accuracy or less",
            _fools(r),
        ),
        Reading(
            "… verified rows",
            f"{r.verified:,} of {r.num_rows:,}",
            "Stored rows that were read back and classified afresh, with the same outcome and "
            "within the allowed change.",
            "all of them",
            r.verified == r.num_rows,
        ),
    ]


def _agrees(a: Agreement) -> bool:
    return a.rate >= _AGREEMENT_MARK


def _near_floor(f: Frechet) -> bool | None:
    return None if f.ratio_to_floor is None else f.ratio_to_floor <= _RATIO_MARK


def _below_floor(f: Frechet) -> str:
    if f.ratio_to_floor is None or f.ratio_to_floor >= 1:
        return ""
    return f" {RATIO_BELOW_ONE}"


def _real_share(c: Copies) -> float:
    """An upper bound of the share of pictures that are no copies but near: about 1 in 100 is."""
    return clopper_pearson(c.num_held_out_near, c.num_held_out)[1]


def _is_new(c: Copies) -> bool:
    return c.num_near <= _real_share(c) * c.num_samples


def _fools(r: Robustness) -> bool:
    return r.robust_accuracy <= _ROBUST_MARK * r.clean_accuracy


def _name(r: Robustness) -> str:
    return r.attack if r.attack == "ascent" else r.attack.upper()


def _short(share: float) -> str:
    return f"{100 * share:.0f}{_SPACE}%"
