"""Samplers: from noise to pictures. `sample` is the one door that jobs and endpoints use."""

from pipeline.sampling.options import SamplingOptions
from pipeline.sampling.sample import is_exact, sample, sample_stage, trajectory
from pipeline.sampling.samplers import SAMPLERS, SamplerName

__all__ = [
    "SAMPLERS",
    "SamplerName",
    "SamplingOptions",
    "is_exact",
    "sample",
    "sample_stage",
    "trajectory",
]
