"""Samplers: from noise to pictures. `sample` is the one door that jobs and endpoints use."""

from pipeline.sampling.options import SAMPLERS, SamplerName, SamplingOptions
from pipeline.sampling.sample import climb_stage, is_exact, sample, trajectory

__all__ = [
    "SAMPLERS",
    "SamplerName",
    "SamplingOptions",
    "climb_stage",
    "is_exact",
    "sample",
    "trajectory",
]
