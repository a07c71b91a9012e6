"""What a user may choose about sampling, and the names of the samplers."""

from dataclasses import asdict, dataclass
from typing import Any

from pipeline.errors import UserError
from pipeline.sampling.samplers import SAMPLERS
from pipeline.stack_spec import StackSpec

ALL_LEVELS = 1e6
"""A noise level above all that a stack may have: guidance up to here acts at every level."""


@dataclass(frozen=True)
class SamplingOptions:
    """How to sample. None takes the model's own default.

    Attributes:
        sampler: a key of `SAMPLERS`.
        layers: layers in each stage, coarsest first.
        guidance: classifier-free guidance weight; 1 is none.
        guidance_interval: noise levels ``(low, high]`` at which guidance acts;
            whatever lies above `ALL_LEVELS` counts as that.
        threshold: percentile of dynamic thresholding in (0, 1], or None for none.
        rescale: how much of the way, 0 to 1, the guided picture is scaled to the standard deviation
            of the unguided; 0 is none.
    """

    sampler: str | None = None
    layers: tuple[int, ...] | None = None
    guidance: float | None = None
    guidance_interval: tuple[float, float] = (0.0, ALL_LEVELS)
    threshold: float | None = None
    rescale: float = 0.0

    def origin(self) -> dict[str, Any]:
        """The options as a set's manifest has them; those that came later only where they act."""
        stored = asdict(self)
        if not self.rescale:
            del stored["rescale"]
        return stored

    def resolve(self, spec: StackSpec) -> "SamplingOptions":
        """The options with the model's defaults filled in.

        A stack without error curves, which is one whose training has not ended, draws by another
        sampler where its default one needs them (``ancestral``, by ``ddpm``).

        Raises:
            UserError: an option that this model cannot follow.
        """
        sampler = spec.sampler if self.sampler is None else self.sampler
        layers = spec.layers if self.layers is None else tuple(self.layers)
        guidance = spec.guidance if self.guidance is None else float(self.guidance)
        if sampler not in SAMPLERS:
            raise UserError(f"unknown sampler {sampler!r}; choose one of {', '.join(SAMPLERS)}")
        instead = SAMPLERS[sampler].without_errors
        if instead is not None and not spec.errors:
            if self.sampler is not None:
                raise UserError(
                    f"the sampler {sampler} draws with variances from the model's error curves, "
                    f"and this model has none; choose {instead}, which needs none"
                )
            sampler = instead
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
        low, high = self.guidance_interval[0], min(self.guidance_interval[1], ALL_LEVELS)
        if not 0 <= low < high:
            raise UserError(
                f"guidance_low {low:g} and guidance_high {high:g} have no noise level between "
                "them; give a low end from 0 and a high end above it"
            )
        if self.threshold is not None and spec.of_vectors:
            raise UserError(
                "threshold is of pictures, whose values end at -1 and 1; vectors have no such range"
            )
        if self.threshold is not None and not 0 < self.threshold <= 1:
            raise UserError(f"threshold {self.threshold} is not a percentile in (0, 1]")
        if not 0 <= self.rescale <= 1:
            raise UserError(f"guidance_rescale {self.rescale} is outside 0 to 1")
        return SamplingOptions(sampler, layers, guidance, (low, high), self.threshold, self.rescale)
