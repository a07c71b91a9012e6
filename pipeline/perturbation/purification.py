"""What a purified classifier's accuracy under attack is: never one attack's figure, but a protocol.

A purifier answers by chance, and its gradients are dear, so its literature often judged it by one
purification of pictures that cut or approximated gradients had found (Lee and Kim, "Robust
evaluation of diffusion-based adversarial purification", 2023, arXiv 2303.09051). Here a figure
stands on all of these: an attack with exact gradients of the mean answer, by more and more draws
until more of them break no more; a search without gradients; pictures made against the bare
classifier; the clean pictures under the same rules; each judged by purifications that no attack
met.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from scipy.stats import t as student

from pipeline.errors import UserError
from pipeline.fixed_batch import in_fixed_batches
from pipeline.formats.perturbation.set import PerturbationSet
from pipeline.formats.perturbation.warnings import GRADIENT_FREE
from pipeline.intervals import clopper_pearson
from pipeline.perturbation.through.purifier import PurifiedClassifier
from pipeline.pictures import to_unit
from pipeline.precision import full_float32
from pipeline.smoothing.purifier import PurifierKeys

Role = Literal["clean", "adaptive", "square", "transfer"]
FLAT_POINTS = 2.0
"""By how many points more draws may still lower the accuracy where a curve counts as flat."""
_LADDER = ("draws", "seed", "threshold", "threshold_rows")  # in what sets of one ladder may differ


@dataclass(frozen=True)
class Fresh:
    """What was answered about N pictures, purified m times each by draws that no attack met.

    Attributes:
        labels: int64 ``[N]``, the true ones.
        votes: int64 ``[N, K]``; each row's sum is m.
    """

    labels: np.ndarray
    votes: np.ndarray

    @property
    def shares(self) -> np.ndarray:
        """The part of each picture's purifications that is answered rightly, ``[N]``."""
        right = self.votes[np.arange(len(self.labels)), self.labels]
        return np.asarray(right / self.votes.sum(axis=1))

    @property
    def majority(self) -> np.ndarray:
        """Whether the label has more votes than any other class, bool ``[N]``."""
        others = self.votes.copy()
        others[np.arange(len(self.labels)), self.labels] = -1
        right = self.votes[np.arange(len(self.labels)), self.labels]
        return np.asarray(right > others.max(axis=1))


@full_float32()
@torch.inference_mode()
def judge_fresh(
    classifier: PurifiedClassifier,
    images: np.ndarray,
    labels: np.ndarray,
    rows: np.ndarray,
    *,
    purifications: int,
    seed: int,
) -> Fresh:
    """Purifies pictures afresh, each ``purifications`` times, and counts the answers.

    Args:
        images: uint8 ``[N, H, W, C]``.
        labels, rows: int64 ``[N]``; the rows' numbers key the draws.
        seed: keys them as well.
    """
    x = to_unit(images)
    votes = np.zeros((len(images), len(classifier.classes)), np.int64)
    places = torch.arange(len(images))
    for draw in range(purifications):

        def answers(part: torch.Tensor, draw: int = draw) -> torch.Tensor:
            keys = PurifierKeys.of(seed, rows[part.numpy()], draw)
            return classifier.purified.answers(x[part].to(classifier.device), keys)

        logits = in_fixed_batches(answers, places, rows_per_call=classifier.rows_per_call)
        np.add.at(votes, (places.numpy(), logits.argmax(dim=1).cpu().numpy()), 1)
    return Fresh(labels, votes)


def mean_with_interval(values: np.ndarray) -> tuple[float, float, float]:
    """The mean of one share a row, and Student's 95 % interval over rows, within [0, 1].

    Of shares that are all 1, or all 0, Student's has no width: then Clopper and Pearson's, which
    holds for any shares, since ``n`` of mean m are all 1 with probability m^n at most.
    """
    if np.all(values == 1) or np.all(values == 0):
        return float(values[0]), *clopper_pearson(int(values.sum()), len(values))
    mean, half = float(values.mean()), _half_interval(values)
    return mean, max(0.0, mean - half), min(1.0, mean + half)


def _half_interval(values: np.ndarray) -> float:
    """Half the width of Student's 95 % interval of a mean; infinite of one value."""
    if len(values) < 2:
        return float("inf")
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    return float(student.ppf(0.975, len(values) - 1)) * error


@dataclass(frozen=True)
class Entry:
    """One line of the table.

    Attributes:
        name: of the attack; "clean" without one.
        role: what it is in the protocol.
        draws: that the attack averaged over.
        fresh: what came of it.
    """

    name: str
    role: Role
    draws: int
    fresh: Fresh

    def figures(self) -> dict[str, Any]:
        """The line, as JSON: accuracy of one purification and of the majority, with intervals."""
        mean, low, high = mean_with_interval(self.fresh.shares)
        right, num = int(self.fresh.majority.sum()), len(self.fresh.labels)
        return {
            "attack": self.name,
            "role": self.role,
            "draws": self.draws,
            "rows": num,
            "purifications": int(self.fresh.votes[0].sum()),
            "one_purification_accuracy": mean,
            "one_purification_interval_95": [low, high],
            "majority_accuracy": right / num,
            "majority_interval_95": list(clopper_pearson(right, num)),
        }


def role_of(opened: PerturbationSet, purified_sha256: str, bare_sha256: str) -> Role:
    """What a set is in the protocol.

    Raises:
        UserError: it was made against another classifier, or through another purifier.
    """
    attack = str(opened.attack["attack"])
    if opened.model_sha256 == bare_sha256:
        return "transfer"
    if opened.model_sha256 != purified_sha256:
        raise UserError(
            f"{opened.path} was made against another classifier, or through another purifier; give "
            "sets of this one, or of the bare classifier"
        )
    return "square" if attack in GRADIENT_FREE else "adaptive"


def ladder_of(attacks: Sequence[tuple[int, dict[str, Any]]]) -> list[int]:
    """The sets that differ in their draws alone, by their places, fewest draws first.

    Of several such ladders the one that goes highest; a list of one where no two sets do.

    Args:
        attacks: a place, and the attack as its manifest has it, of each adaptive set.
    """
    ladders: dict[str, dict[int, int]] = {}
    for place, attack in attacks:
        rest = {key: value for key, value in attack.items() if key not in _LADDER}
        ladders.setdefault(repr(sorted(rest.items())), {})[int(attack.get("draws", 1))] = place
    if not ladders:
        return []
    best = max(ladders.values(), key=lambda ladder: (len(ladder) > 1, max(ladder)))
    return [best[draws] for draws in sorted(best)]


def missing(roles: Sequence[Role], rungs: int) -> list[str]:
    """What the protocol still needs, a line each; empty where it has all.

    Args:
        roles: of the sets.
        rungs: how many numbers of draws the ladder has.
    """
    lines = []
    if rungs < 2:
        lines.append(
            "two sets by one attack with gradients through the purifier, whose --eot-draws differ"
        )
    if "square" not in roles:
        lines.append("a set by --attack square through the purifier")
    if "transfer" not in roles:
        lines.append("a set against the bare classifier, without --through")
    return lines


def flatness(fewer: Fresh, more: Fresh) -> dict[str, Any]:
    """Whether more draws still break more: the paired difference of the two highest rungs.

    Flat is a curve whose last step down is neither above `FLAT_POINTS` nor clearly above 0.
    """
    paired = fewer.shares - more.shares
    drop, half = float(paired.mean()), _half_interval(paired)
    return {
        "drop_points": 100 * drop,
        "interval_95": [100 * (drop - half), 100 * (drop + half)],
        "flat": bool(100 * drop <= FLAT_POINTS and drop - half <= 0),
    }


def worst(entries: Sequence[Entry]) -> dict[str, Any]:
    """The accuracy that all attacks together leave: a row counts where none of them takes it."""
    attacked = [entry.fresh for entry in entries if entry.role != "clean"]
    one = np.min([fresh.shares for fresh in attacked], axis=0)
    standing = np.all([fresh.majority for fresh in attacked], axis=0)
    mean, low, high = mean_with_interval(one)
    right, num = int(standing.sum()), len(standing)
    return {
        "one_purification_accuracy": mean,
        "one_purification_interval_95": [low, high],
        "majority_accuracy": right / num,
        "majority_interval_95": list(clopper_pearson(right, num)),
    }
