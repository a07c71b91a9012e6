"""The smoothed classifier asked about an attack's pictures: what certificates must survive."""

from dataclasses import dataclass, replace

import numpy as np

from pipeline.formats.certificate.comparison import Inside
from pipeline.formats.certificate.set import CertificateSet
from pipeline.formats.perturbation.set import PerturbationSet
from pipeline.formats.shard import images_of, iterate, labels_of
from pipeline.smoothing.base import SmoothingBase
from pipeline.smoothing.certifier import certify_rows
from pipeline.smoothing.confidence import clopper_pearson_lower
from pipeline.smoothing.noise import row_keys_of
from pipeline.smoothing.record import settings_of

# How seldom votes speak against a certificate that holds, for each row.
_BY_CHANCE = 1e-6


@dataclass(frozen=True)
class AskedAgain:
    """What the smoothed classifier answers about the N pictures of a perturbation set.

    Attributes:
        rows: int64 ``[N]``, their row numbers.
        labels, answers: int64 ``[N]``; an answer is the class with most votes.
        l2: float64 ``[N]``, how far each picture lies from the clean one, in [0, 1] units.
        votes: int32 ``[N, K]``.
    """

    rows: np.ndarray
    labels: np.ndarray
    answers: np.ndarray
    l2: np.ndarray
    votes: np.ndarray

    def contradicted(self, inside: Inside) -> np.ndarray:
        """The row numbers of certificates that these votes contradict, int64.

        Within its radius the smoothed classifier must answer ``predicted``, so at least half of all
        votes go there. A row is contradicted where so few did that it would happen once in a
        million if they were half.
        """
        place = {row: i for i, row in enumerate(self.rows.tolist())}
        rows = []
        for row, due in zip(inside.rows.tolist(), inside.predicted.tolist(), strict=True):
            votes = self.votes[place[row]]
            others = int(votes.sum() - votes[due])
            if clopper_pearson_lower(others, int(votes.sum()), _BY_CHANCE) > 0.5:
                rows.append(row)
        return np.array(rows, np.int64)


def ask_again(
    base: SmoothingBase, certified: CertificateSet, attacked: PerturbationSet, num_votes: int
) -> AskedAgain:
    """Lets the smoothed classifier vote on all stored pictures of a perturbation set.

    Args:
        base: of the certificate set.
        num_votes: on each picture, with noise that the certificates did not meet.
    """
    stated = settings_of(certified.certificate)
    # Its first draws are the votes; what follows them asks for as little as a rule can, whatever
    # the set's own alpha is.
    settings = replace(
        stated,
        seed=stated.seed + 1,
        n0=num_votes,
        n=num_votes,
        alpha=0.001,
        rule="radii",
        radii=(0.0,),
        tolerance=None,
    )
    parts = []
    for table in iterate(attacked.path, attacked.shards):
        images = images_of(table, "adversarial")
        found = certify_rows(base, images, row_keys_of(table["id"].to_pylist()), settings)
        parts.append(
            (
                table["row"].to_numpy(),
                labels_of(table),
                found.predicted,
                table["l2"].to_numpy(),
                found.n0_counts,
            )
        )
    return AskedAgain(*(np.concatenate(column) for column in zip(*parts, strict=True)))
