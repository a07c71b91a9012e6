"""How rows are certified: the settings, and what no number of draws could answer."""

from dataclasses import dataclass

from pipeline.errors import UserError
from pipeline.smoothing.noise import MOST_DRAWS, NOISES, Noise, NoiseName, check_sigma, noise_of
from pipeline.smoothing.rules import RULES, Rule, RuleName, rule_of

# Half of it is still a float64 of full precision.
_LEAST_ALPHA = 1e-300


@dataclass(frozen=True)
class CertifySettings:
    """How rows are certified. All lengths are in units of [0, 1] of a pixel, L2 over the picture.

    Attributes:
        sigma: of the noise.
        n0: draws that choose the class; none of them counts for the bound.
        n: the most draws, after these, that bound the class's share.
        alpha: how often a row's certificate may be wrong, at most, in (0, 1/2).
        rule: when a row stops; see `pipeline.smoothing.rules`.
        radii: what the rule "radii" asks about; 0 asks whether there is a class at all.
        tolerance: to what the rule "tolerance" must know the radius.
        noise: "gaussian", or "lattice" for 8-bit pictures.
        seed: of all draws.

    Raises:
        UserError: they contradict each other, or no number of draws could answer.
    """

    sigma: float
    n0: int = 100
    n: int = 100_000
    alpha: float = 0.001
    rule: RuleName = "fixed"
    radii: tuple[float, ...] = ()
    tolerance: float | None = None
    noise: NoiseName = "gaussian"
    seed: int = 0

    def __post_init__(self) -> None:
        for what, name, known in (("rule", self.rule, RULES), ("noise", self.noise, NOISES)):
            if name not in known:
                raise UserError(f"there is no {what} {name!r}, only {', '.join(known)}")
        check_sigma(self.sigma)
        if not 0 < self.alpha < 0.5:
            raise UserError(f"alpha must lie between 0 and 1/2, not {self.alpha}; 0.001 is usual")
        if self.alpha < _LEAST_ALPHA:
            raise UserError(
                f"alpha is {self.alpha}, of which floats keep too few digits: give {_LEAST_ALPHA} "
                "or more; 0.001 is usual"
            )
        if self.n0 < 1:
            raise UserError(f"n0 must be at least 1, not {self.n0}; 100 is usual")
        if self.n < self.n0:
            raise UserError(
                f"n is {self.n}, less than the {self.n0} draws of n0 that only choose the class; "
                "raise n"
            )
        if self.n0 + self.n > MOST_DRAWS:
            raise UserError(f"n0 and n are more than {MOST_DRAWS} draws a row; lower n")
        self._check_question()

    def _check_question(self) -> None:
        if bool(self.radii) != (self.rule == "radii"):
            raise UserError('the rule "radii" and radii to ask about go together; give both')
        if (self.tolerance is not None) != (self.rule == "tolerance"):
            raise UserError('the rule "tolerance" and a tolerance go together; give both')
        if self.tolerance is not None and not self.tolerance > 0:
            raise UserError(f"tolerance must be above 0, not {self.tolerance}")
        if bad := [r for r in self.radii if not r >= 0]:
            raise UserError(f"radii must be at least 0, not {bad[0]}")
        ceiling = self.rule_for(0).ceiling()
        if self.radii and not max(self.radii) <= ceiling:
            raise UserError(
                f"a radius of {max(self.radii)} can never be certified: n = {self.n} votes out of "
                f"as many give {ceiling} at sigma {self.sigma} and alpha {self.alpha}; "
                "ask for less, or raise n or sigma"
            )
        if ceiling == 0:
            raise UserError(
                f"n = {self.n} draws certify nothing at alpha {self.alpha}, not even if all agree; "
                "raise n"
            )

    def rule_for(self, num_values: int) -> Rule:
        """The rule for pictures of so many values."""
        return rule_of(
            self.rule,
            sigma=self.sigma,
            n=self.n,
            alpha=self.alpha,
            shortfall=self.make_noise().shortfall(num_values),
            radii=self.radii,
            tolerance=self.tolerance,
        )

    def make_noise(self) -> Noise:
        """The noise of these settings."""
        return noise_of(self.noise, self.sigma)
