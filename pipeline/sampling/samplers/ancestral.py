"""The source's chain: each layer draws from its Gaussian decoder."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from pipeline.chain.noise import Purpose
from pipeline.chain.schedule import Layer
from pipeline.chain.transition import posterior_mean, posterior_scale
from pipeline.sampling.base import History, SampleKeys, Sampler, SamplerEntry


@dataclass(frozen=True)
class Ancestral(Sampler):
    """``z_t = Dec_t(z_{t-1}, c) + sqrt(v) eps``; nothing is drawn in a layer where ``v`` is 0.

    Attributes:
        variance: ``v`` of a layer. With `StackSpec.decoder_variance` this is the chain that the
            bound bounds, its last layer too: rounded and clipped to 8 bits, the last draw has the
            law of `likelihood.discretised_density`.
    """

    variance: Callable[[Layer], float]

    def step(
        self,
        z: Tensor,
        layer: Layer,
        denoise: Callable[[Tensor, float], Tensor],
        keys: SampleKeys,
        history: History | None,
    ) -> tuple[Tensor, History | None]:
        mean = posterior_mean(z, denoise(z, layer.sigma_from), layer)
        variance = self.variance(layer)
        if variance == 0:
            return mean, None
        eps = keys.normal(layer.index, Purpose.STEP, z, tuple(z.shape[1:]))
        return mean + variance**0.5 * eps, None


ANCESTRAL = SamplerEntry(
    "ancestral", lambda spec: Ancestral(spec.decoder_variance), without_errors="ddpm"
)
# With the posterior's own variance, which needs no error curves (Ho et al., 2020).
DDPM = SamplerEntry("ddpm", lambda _: Ancestral(lambda layer: posterior_scale(layer).variance))
