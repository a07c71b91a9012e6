"""What a user may choose about sampling, and the names of the samplers."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Literal

from pipeline.chain.transition import posterior_scale
from pipeline.errors import UserError
from pipeline.sampling.ancestral import Ancestral
from pipeline.sampling.base import Sampler
from pipeline.sampling.ddim import Ddim
from pipeline.sampling.dpmpp_2m import DpmPp2M
from pipeline.sampling.heun import Heun
from pipeline.stack_spec import StackSpec

SamplerName = Literal["ancestral", "ddpm", "ddim", "heun", "dpmpp_2m"]

# From a stack's spec to the sampler for it: one for each `SamplerName`.
SAMPLERS: dict[str, Callable[[StackSpec], Sampler]] = {
    "ancestral": lambda spec: Ancestral(spec.decoder_variance),
    "ddpm": lambda _: Ancestral(lambda layer: posterior_scale(layer).variance),
    "ddim": lambda _: Ddim(),
    "heun": lambda _: Heun(),
    "dpmpp_2m": lambda _: DpmPp2M(),
}


@dataclass(frozen=True)
class SamplingOptions:
    """How to sample. None takes the model's own default.

    Attributes:
        sampler: a key of `SAMPLERS`.
        layers: layers in each stage, coarsest first.
        guidance: classifier-free guidance weight; 1 is none.
        guidance_interval: noise levels ``(low, high]`` at which guidance acts.
        threshold: percentile of dynamic thresholding in (0, 1], or None for none.
    """

    sampler: str | None = None
    layers: tuple[int, ...] | None = None
    guidance: float | None = None
    guidance_interval: tuple[float, float] = (0.0, inf)
    threshold: float | None = None

    def resolve(self, spec: StackSpec) -> "SamplingOptions":
        """The options with the model's defaults filled in.

        A stack without error curves, which is one whose training has not ended, draws by ``ddpm``
        where its default is ``ancestral``.

        Raises:
            UserError: an option that this model cannot follow.
        """
        sampler = spec.sampler if self.sampler is None else self.sampler
        layers = spec.layers if self.layers is None else tuple(self.layers)
        guidance = spec.guidance if self.guidance is None else float(self.guidance)
        if sampler not in SAMPLERS:
            raise UserError(f"unknown sampler {sampler!r}; choose one of {', '.join(SAMPLERS)}")
        if sampler == "ancestral" and not spec.errors:
            if self.sampler is not None:
                raise UserError(
                    "the sampler ancestral draws with variances from the model's error curves, and "
                    "this model has none; choose ddpm, which draws with the posterior's"
                )
            sampler = "ddpm"
        if len(layers) != len(spec.stages):
            sides = ", ".join(str(s.side) for s in spec.stages)
            raise UserError(
                f"layers has {len(layers)} numbers, but the model has {len(spec.stages)} stages "
                f"(of {sides} pixels); give one number a stage"
            )
        if any(n < 1 for n in layers) or layers[-1] < 2 or sum(layers) > 4096:
            raise UserError(
                f"layers {list(layers)}: each stage needs 1 at least, the last one 2, "
                "and all together 4096 at most"
            )
        if not 0 <= guidance <= 100:
            raise UserError(f"guidance {guidance} is outside 0 to 100")
        low, high = self.guidance_interval
        if not 0 <= low < high:
            raise UserError(
                f"guidance_low {low:g} and guidance_high {high:g} have no noise level between "
                "them; give a low end from 0 and a high end above it"
            )
        if self.threshold is not None and not 0 < self.threshold <= 1:
            raise UserError(f"threshold {self.threshold} is not a percentile in (0, 1]")
        return SamplingOptions(sampler, layers, guidance, self.guidance_interval, self.threshold)
