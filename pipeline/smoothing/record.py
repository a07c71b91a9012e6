"""What a certificate set states of its certificates, and what follows from its counts of votes."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import Any

import numpy as np

from pipeline.errors import UserError
from pipeline.smoothing.certificate import radius
from pipeline.smoothing.confidence import PRIOR_A, PRIOR_B
from pipeline.smoothing.rules import FIRST_LOOK, LEAST_GAP, LOOK_GROWTH, Anytime
from pipeline.smoothing.settings import CertifySettings

_HOLDS = (
    "For each row by itself, with probability at least 1 - alpha over the noise: the smoothed "
    "classifier, which answers what the base answers most often under the noise, answers "
    "`predicted` for every picture whose L2 distance from this one is below `radius`, values in "
    "[0, 1]. Nothing is said of the base without noise, of rows that abstained, or of whether "
    "`predicted` is right."
)
_FLOATS = (
    "The theorem speaks of real numbers. Noise and base are computed in float32: that the rounding "
    "changes no certificate is assumed, not proved."
)
_LATTICE = (
    "The noise is whole levels of 1/255, so the base is asked about finitely many pictures, each "
    "with one answer: for 8-bit pictures the certificate holds in floating point as it stands. "
    "`shortfall`, which bounds the error of the noise's table, is taken off every p_lower."
)


def record_of(settings: CertifySettings, num_values: int) -> dict[str, Any]:
    """A manifest's ``certificate``.

    Args:
        num_values: of a picture, over all channels.

    Returns:
        The settings; ceiling, the largest radius that n draws can certify; shortfall; and of a rule
        that may stop early the mixture's prior, a Beta distribution's a and b, and its looks.
    """
    rule = settings.rule_for(num_values)
    record = {
        **asdict(settings),
        "radii": list(settings.radii),
        "ceiling": rule.ceiling(),
        "shortfall": rule.shortfall,
        "states": [_HOLDS, _LATTICE if settings.noise == "lattice" else _FLOATS],
    }
    if isinstance(rule, Anytime):
        record |= {
            "prior": [PRIOR_A, PRIOR_B],
            "looks": {"first": FIRST_LOOK, "least_gap": LEAST_GAP, "growth": LOOK_GROWTH},
        }
    return record


def settings_of(record: Mapping[str, Any]) -> CertifySettings:
    """The settings in a manifest's ``certificate``.

    Raises:
        UserError: one is missing, or they are none.
    """
    try:
        values = {field.name: record[field.name] for field in fields(CertifySettings)}
        return CertifySettings(**{**values, "radii": tuple(values["radii"])})
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"its certificate lacks or spoils something: {error!r}") from None


class RuleRecount:
    """What a set's counts of votes prove, by the rule that made it.

    Args:
        record: a manifest's ``certificate``.
        num_values: of a picture.

    Raises:
        KeyError, TypeError, ValueError, UserError: the record is not one of this version's.
    """

    def __init__(self, record: Mapping[str, Any], num_values: int) -> None:
        settings = settings_of(record)
        self._sigma, self._most = settings.sigma, settings.n
        self._rule = settings.rule_for(num_values)
        self._looks = self._rule.looks()
        due = record_of(settings, num_values)
        for name in ("prior", "looks", "shortfall", "ceiling"):
            # A ceiling may lie a millionth off, where another scipy's last bits round it.
            near = name == "ceiling" and abs(float(record[name]) - due[name]) < 1.5e-6
            if not near and record.get(name) != due.get(name):
                raise UserError(
                    f"its certificate's {name} is {record.get(name)}, not {due.get(name)}"
                )
        if record["states"] != due["states"]:
            raise UserError(
                f"its certificate states what one by {settings.noise} noise does not: "
                f"{record['states']}"
            )

    def p_lower(self, n: np.ndarray, n_a: np.ndarray) -> np.ndarray:
        """The bound of n_a votes among n draws, each int64 ``[N]``; float64 ``[N]``."""
        return _by_row(self._rule.p_lower, n, n_a)

    def radius(self, p_lower: np.ndarray) -> np.ndarray:
        """The radii of bounds, float64 ``[N]``."""
        return np.array([radius(p, self._sigma) for p in p_lower.tolist()], np.float64)

    def may_stop(self, n: np.ndarray, n_a: np.ndarray) -> np.ndarray:
        """Whether the rule looks at a row after n draws, and lets it go; bool ``[N]``."""
        decided = _by_row(lambda n, n_a: float(self._rule.is_decided(n, n_a)), n, n_a) == 1
        return np.asarray(np.isin(n, self._looks) & decided)


def _by_row(function: Callable[[int, int], float], n: np.ndarray, n_a: np.ndarray) -> np.ndarray:
    pairs = zip(n.tolist(), n_a.tolist(), strict=True)
    return np.array([function(*pair) for pair in pairs], np.float64)
