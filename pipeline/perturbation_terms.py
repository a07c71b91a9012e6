"""The few names and numbers that attacks and the format of perturbation sets both speak of."""

from dataclasses import dataclass

# What a lead must exceed in the logits that attacks see, which are brought to one spread, 20 (see
# `pipeline.attacks.engine.rescaled`); and in the logits themselves in sets that state no threshold.
MARGIN = 1e-3

NO_TARGET = "none"
RULES = (NO_TARGET, "least_likely", "random", "next")  # how a row's target class is chosen

UNIVERSAL = "universal"  # the attack that makes one perturbation for all pictures
TRANSFER = "transfer"  # the attack that shows the pictures of another set


@dataclass(frozen=True)
class TrustWarning:
    """Why a result may be wrong.

    Attributes:
        code: which kind of reason.
        count, of: in how many rows (or layers) of how many it was noticed.
        text: one line: what was seen, what it means, what to do.
    """

    code: str
    count: int
    of: int
    text: str
