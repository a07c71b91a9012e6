"""Certificates beside attacks on the same pictures: certified <= true <= attacked, or who is wrong.

The certificate speaks of the smoothed classifier, an attack's set mostly of the base without noise:
two classifiers, whose curves may lie either way. So what the attack found is shown to the smoothed
classifier: what it then gets right bounds its true accuracy from above.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jobs.compare.config import CompareConfig
from pipeline.certification.asked_again import AskedAgain, ask_again
from pipeline.certification.opened import open_same_base
from pipeline.formats.certificate.comparison import inside_radius
from pipeline.formats.certificate.curve import CurvePoint, in_millionths, right_radii
from pipeline.formats.certificate.set import CertificateSet
from pipeline.formats.dataset import load_dataset
from pipeline.formats.perturbation.set import PerturbationSet
from pipeline.pictures import LEVELS
from pipeline.plots.accuracy import TENTHS, SetFigures
from pipeline.plots.certified import base_title
from pipeline.smoothing.base import SmoothingBase

_TOLD = 8  # row numbers in a line


@dataclass(frozen=True)
class Beside:
    """A certificate set beside a perturbation set.

    Attributes:
        lines: for a person.
        report: the same, for programs.
        drawn: what the smoothed classifier answers about the attack's pictures, with its name;
            None where it was not asked.
    """

    lines: tuple[str, ...]
    report: dict[str, Any]
    drawn: tuple[str, SetFigures] | None = None


def opened_bases(
    config: CompareConfig, certified: Sequence[CertificateSet]
) -> list[SmoothingBase | None]:
    """What each certificate set smoothed, where it is to be asked.

    Raises:
        UserError: what is given is another one.
    """
    if config.dataset is None:
        return [None] * len(certified)
    info = load_dataset(config.dataset)
    given: dict[str, Any] = {
        "classifier": config.classifier,
        "weights": config.weights,
        "stack": config.stack,
    }
    return [open_same_base(one, info, **given) for one in certified]


def certified_line(opened: CertificateSet) -> str:
    """A set's curve in words."""
    points = [
        f"{point['accuracy']:.2%} at {point['radius']:g}" for point in opened.manifest["curve"]
    ]
    return f"{base_title(opened.manifest)}: certified accuracy {', '.join(points)}"


def beside(
    certified: CertificateSet,
    attacked: PerturbationSet,
    name: str,
    base: SmoothingBase | None,
    num_votes: int,
) -> Beside:
    """What an attack found within the certified radii, and what the smoothed classifier says.

    Args:
        name: of the perturbation set.
        base: of the certificate set; None where it is not to be asked.
        num_votes: on each picture.
    """
    inside = inside_radius(certified, attacked)
    what, num, turned = base_title(certified.manifest), len(inside.rows), int(inside.turned.sum())
    report: dict[str, Any] = {
        "certificates": certified.manifest["content_sha256"],
        "set": attacked.manifest["content_sha256"],
        "within_radius": num,
        "of_which_turn_the_base": turned,
    }
    line = (
        f"{what}, {name}: {num:,} of the attack's pictures lie within their row's certified "
        f"radius; {turned:,} of these turn the classifier alone"
    )
    if base is None:
        asks = "" if not turned else (
            ", which is no contradiction: the certificate is of the smoothed one; give --dataset "
            "and --classifier to ask that"
        )  # fmt: skip
        return Beside((line + asks,), report)
    asked = ask_again(base, certified, attacked, num_votes)
    wrong = asked.contradicted(inside)
    right = int((asked.answers == asked.labels).sum())
    report |= {
        "votes": num_votes,
        "smoothed_right_on_attacked": right,
        "contradicted_rows": wrong.tolist(),
    }
    drawn = (f"{what}, smoothed, about {name}'s pictures", _figures(asked, attacked))
    lines = [line, _bounds_line(certified, attacked, what, name, right, len(asked.rows))]
    if len(wrong):
        told = ", ".join(str(row) for row in wrong[:_TOLD].tolist())
        lines.append(
            f"warning: {len(wrong):,} certificates of {what} are contradicted: within the radius "
            f"of rows {told}{', …' if len(wrong) > _TOLD else ''} the smoothed classifier answers "
            f"otherwise; alpha {certified.certificate['alpha']:g} allows for "
            f"{certified.certificate['alpha'] * num:.2g} such rows"
        )
    return Beside(tuple(lines), report, drawn)


def _bounds_line(
    certified: CertificateSet,
    attacked: PerturbationSet,
    what: str,
    name: str,
    right: int,
    rows: int,
) -> str:
    above = f"{what}: right about {right / rows:.2%} of what {name} found"
    eps = int(attacked.attack["eps"]) / LEVELS
    if not eps:
        return above
    millionths = right_radii(certified.path, certified.shards)
    # A ball's edge belongs to it, and a radius is an open one: hence a millionth more.
    held = int((millionths >= in_millionths(eps) + 1).sum())
    point = CurvePoint.of(eps, held, len(millionths))
    return (
        f"{above}; its accuracy under any change of up to {eps:.4g} lies between "
        f"{point.accuracy:.2%}, certified, and that"
    )


def _figures(asked: AskedAgain, attacked: PerturbationSet) -> SetFigures:
    """The smoothed classifier's answers about an attack's pictures, as its curve is drawn."""
    wrong = asked.answers != asked.labels
    moved = asked.l2[wrong] * LEVELS
    tenths = np.ceil(moved * TENTHS - 1e-6).astype(np.int64)
    return SetFigures(
        "l2", int(attacked.attack["eps"]), len(wrong), len(wrong), Counter(tenths.tolist()), {}, {}
    )


def certified_report(
    certified: Sequence[CertificateSet], found: Sequence[Beside]
) -> dict[str, Any]:
    """What the terminal says of certificates, for programs; nothing where there are none."""
    if not certified:
        return {}
    return {
        "certificates": [
            {
                "path": str(opened.path),
                "content_sha256": opened.manifest["content_sha256"],
                "base": opened.base["base"],
                **{key: opened.certificate[key] for key in ("sigma", "alpha", "rule", "noise")},
                "curve": opened.manifest["curve"],
            }
            for opened in certified
        ],
        "within_certified_radius": [one.report for one in found],
    }
