"""Samplers: from noise to pictures, or to vectors.

`sample` is the one door that jobs and endpoints use; `sample_vectors` is that of a prior.
"""

from pipeline.sampling.exactness import is_exact
from pipeline.sampling.options import SamplingOptions
from pipeline.sampling.sample import sample, sample_stage, trajectory
from pipeline.sampling.samplers import SAMPLERS, SamplerName
from pipeline.sampling.vectors import sample_vectors

__all__ = [
    "SAMPLERS",
    "SamplerName",
    "SamplingOptions",
    "is_exact",
    "sample",
    "sample_stage",
    "sample_vectors",
    "trajectory",
]
