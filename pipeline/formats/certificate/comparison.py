"""Certificates beside an attack on the same pictures: what the attack found within a radius."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.errors import UserError
from pipeline.formats.certificate.set import CertificateSet
from pipeline.formats.perturbation.set import PerturbationSet
from pipeline.formats.shard import iterate


@dataclass(frozen=True)
class Inside:
    """The rows whose stored picture lies nearer than their certified radius, M of them.

    Attributes:
        rows: int64 ``[M]``, their row numbers.
        predicted: int64 ``[M]``, what the smoothed classifier must answer there.
        turned: bool ``[M]``, whether the base alone, without noise, answers otherwise there.
    """

    rows: np.ndarray
    predicted: np.ndarray
    turned: np.ndarray


def check_same_pictures(
    certified: Sequence[CertificateSet], attacked: Sequence[PerturbationSet]
) -> None:
    """Raises UserError unless all sets are of the same rows.

    Where there are sets of both kinds, all are of one classifier, and in L2.
    """
    both: list[CertificateSet | PerturbationSet] = [*certified, *attacked]
    first = both[0]
    for one in both:
        for name, value in _covered(one).items():
            if value != _covered(first)[name]:
                raise UserError(
                    f"{one.path} and {first.path} differ in {name}, {value} and "
                    f"{_covered(first)[name]}; compare sets of the same rows"
                )
    if not (certified and attacked):
        return
    for opened in attacked:
        if opened.attack["norm"] != "l2":
            raise UserError(
                f"{opened.path} is in {opened.attack['norm']}, and certificates are in l2; perturb "
                "with --norm l2"
            )
    models = {classifier_of(certificates): certificates.path for certificates in certified}
    models |= {opened.model_sha256: opened.path for opened in attacked}
    if len(models) > 1:
        (sha, path), (other_sha, other) = list(models.items())[:2]
        raise UserError(
            f"{other} is of another classifier than {path}, {other_sha[:12]} and {sha[:12]}: what "
            "is certified of one says nothing of an attack on the other"
        )


def classifier_of(opened: CertificateSet) -> str:
    """The hash of the classifier that was smoothed, or that stands in the base; empty for none."""
    return str(opened.base.get("classifier_sha256", ""))


def inside_radius(certified: CertificateSet, attacked: PerturbationSet) -> Inside:
    """What an attack in L2 stored within the certified radii of the same rows."""
    names = ["row", "predicted", "radius", "abstained"]
    radius = np.zeros(certified.stop - certified.start)  # 0 where abstained: nothing is nearer
    predicted = np.full(len(radius), -1, np.int64)
    for table in iterate(certified.path, certified.shards, names):
        at = table["row"].to_numpy() - certified.start
        radius[at] = np.where(table["abstained"].to_numpy(), 0.0, table["radius"].to_numpy())
        predicted[at] = table["predicted"].to_numpy()
    parts = [
        _inside(table, radius, predicted, certified.start)
        for table in iterate(
            attacked.path, attacked.shards, ["row", "l2", "adversarial_prediction"]
        )
    ]
    return Inside(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _inside(
    table: pa.Table, radius: np.ndarray, predicted: np.ndarray, start: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = table["row"].to_numpy()
    inside = table["l2"].to_numpy() < radius[rows - start]
    due = predicted[rows - start]
    turned = table["adversarial_prediction"].to_numpy() != due
    return rows[inside], due[inside], turned[inside]


def _covered(opened: CertificateSet | PerturbationSet) -> dict[str, str]:
    return {
        "dataset": opened.dataset_sha256[:12],
        "split": opened.split,
        "rows": f"{opened.start:,} to {opened.stop - 1:,}",
    }
