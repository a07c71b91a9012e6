"""When a row has been asked often enough. One class a rule; `rule_of` builds the one of a name.

A rule looks at a row's counts only at numbers of draws that are fixed beforehand, and sees nothing
but that row's counts. So they do not depend on who shares its calls.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from pipeline.smoothing.certificate import radius, share_of
from pipeline.smoothing.confidence import anytime_interval, clopper_pearson_lower, is_outside

RuleName = Literal["fixed", "radii", "tolerance"]
RULES: tuple[RuleName, ...] = get_args(RuleName)
# Each look comes a tenth later than the one before, but at least so many draws: a row that takes
# few draws of a call at a time costs more than the draws it saves.
FIRST_LOOK, LEAST_GAP, LOOK_GROWTH = 24, 12, 1.1
# How likely a row that would just have reached a radius is given up before it does. No claim rests
# on it; 0.01 costs 5 % more draws and leaves as many rows certified, to 0.05 points.
GIVE_UP_ALPHA = 0.05


class Rule(ABC):
    """Stops a row, and bounds its share.

    Args:
        sigma: of the noise, in units of [0, 1].
        n: the most draws for the bound.
        alpha: how often a bound may be wrong, at most.
        shortfall: what the noise takes off a bound, see `Noise.shortfall`.
    """

    name: RuleName

    def __init__(self, sigma: float, n: int, alpha: float, shortfall: float) -> None:
        self.sigma, self.n, self.alpha, self.shortfall = sigma, n, alpha, shortfall

    @abstractmethod
    def looks(self) -> np.ndarray:
        """The numbers of draws after which a row is looked at, ascending; the last is n."""

    @abstractmethod
    def is_decided(self, n: int, n_a: int) -> bool:
        """Whether a row with n_a of n votes for its class need not be asked on."""

    @abstractmethod
    def p_lower(self, n: int, n_a: int) -> float:
        """Below p_A with probability 1 - alpha, from the counts at which the row stopped."""

    def radius(self, n: int, n_a: int) -> float:
        """What these counts certify."""
        return radius(self.p_lower(n, n_a), self.sigma)

    def ceiling(self) -> float:
        """The largest radius that n draws can certify: that of n votes out of n."""
        return self.radius(self.n, self.n)


class Fixed(Rule):
    """n draws a row, and Clopper and Pearson's bound."""

    name: RuleName = "fixed"

    def looks(self) -> np.ndarray:
        return np.array([self.n], np.int64)

    def is_decided(self, n: int, n_a: int) -> bool:
        return n >= self.n

    def p_lower(self, n: int, n_a: int) -> float:
        return max(0.0, clopper_pearson_lower(n_a, n, self.alpha) - self.shortfall)


class Anytime(Rule):
    """A bound that holds after any number of draws, so a row may stop when it likes.

    Half of alpha is the anytime bound's. The other half is Clopper and Pearson's at n, a number
    fixed beforehand: rows near a radius, which come to their last draw, are then certified as by
    a single look at half of alpha, that is hardly less often.
    """

    def looks(self) -> np.ndarray:
        looks = [min(FIRST_LOOK, self.n)]
        while looks[-1] < self.n:
            later = max(looks[-1] + LEAST_GAP, math.ceil(looks[-1] * LOOK_GROWTH))
            looks.append(min(self.n, later))
        return np.array(looks, np.int64)

    def p_lower(self, n: int, n_a: int) -> float:
        bound = anytime_interval(n_a, n, self.alpha / 2)[0]
        if n == self.n:
            bound = max(bound, clopper_pearson_lower(n_a, n, self.alpha / 2))
        return max(0.0, bound - self.shortfall)


class Radii(Anytime):
    """Until of each asked radius it is known whether it holds, or it is given up.

    Given up is a radius when the share that would reach it in n draws, half the time, is above the
    anytime interval at the level `GIVE_UP_ALPHA`.
    """

    name: RuleName = "radii"

    def __init__(
        self, sigma: float, n: int, alpha: float, shortfall: float, radii: Sequence[float]
    ) -> None:
        super().__init__(sigma, n, alpha, shortfall)
        self._asked = [(r, share_of(r, sigma) + shortfall, self._needed(r)) for r in sorted(radii)]

    def is_decided(self, n: int, n_a: int) -> bool:
        return n >= self.n or all(
            self._is_given_up(needed, n, n_a)
            # The share is compared first: the bound itself takes twenty times as long.
            or (is_outside(p, n_a, n, self.alpha / 2) and n_a > p * n and self.holds(r, n, n_a))
            for r, p, needed in self._asked
        )

    def holds(self, r: float, n: int, n_a: int) -> bool:
        """Whether these counts certify a radius; 0 is that of any class at all."""
        p_lower = self.p_lower(n, n_a)
        return p_lower > 0.5 and radius(p_lower, self.sigma) >= r

    def _needed(self, r: float) -> float:
        """The smallest share of n votes that certifies a radius; above 1 where none does."""
        low, high = 0, self.n + 1  # `low` votes do not
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.holds(r, self.n, middle) else (middle, high)
        return high / self.n

    @staticmethod
    def _is_given_up(needed: float, n: int, n_a: int) -> bool:
        return n_a < needed * n and is_outside(min(needed, 1.0), n_a, n, GIVE_UP_ALPHA)


class Tolerance(Anytime):
    """Until the radius is known to within a tolerance, or the largest that n could certify is."""

    name: RuleName = "tolerance"

    def __init__(
        self, sigma: float, n: int, alpha: float, shortfall: float, tolerance: float
    ) -> None:
        super().__init__(sigma, n, alpha, shortfall)
        self._tolerance = tolerance
        self._ceiling = self.ceiling()

    def is_decided(self, n: int, n_a: int) -> bool:
        if n >= self.n:
            return True
        upper = anytime_interval(n_a, n, self.alpha / 2)[1]
        reachable = min(radius(upper, self.sigma) if upper < 1 else np.inf, self._ceiling)
        return reachable - self.radius(n, n_a) <= self._tolerance


def rule_of(
    name: RuleName,
    *,
    sigma: float,
    n: int,
    alpha: float,
    shortfall: float = 0.0,
    radii: Sequence[float] = (),
    tolerance: float | None = None,
) -> Rule:
    """The rule of this name, which heeds of the rest what concerns it."""
    if name == "fixed":
        return Fixed(sigma, n, alpha, shortfall)
    if name == "radii":
        return Radii(sigma, n, alpha, shortfall, radii)
    if tolerance is None:
        raise ValueError("the rule tolerance needs one")
    return Tolerance(sigma, n, alpha, shortfall, tolerance)
