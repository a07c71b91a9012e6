"""The config of `certify`: what each key means, and the settings that it spells."""

from pathlib import Path
from typing import Self

from pydantic import Field, field_validator, model_validator

from jobs.common.bad_rows import DESCRIPTION, OnBadRow
from jobs.common.user_classifier import CLASSIFIER, ROWS_PER_CALL, WEIGHTS, classifier_spec
from noisestack.config import JobConfig, Seed
from pipeline.registry import explained
from pipeline.smoothing.bases import BASES, BaseName
from pipeline.smoothing.noise import NoiseName
from pipeline.smoothing.rules import RuleName
from pipeline.smoothing.settings import CertifySettings

# A shard is what progress is told in, and what a kill costs: with all draws, 16 rows of a small
# network are a minute or two of a core. Where rows stop early, fewer would leave calls half empty.
_SHARD_ROWS, _SHARD_ROWS_ASKED = 16, 64


class CertifyConfig(JobConfig):
    """Certify, for every picture of a split, within which L2 radius a smoothed classifier stays.

    The smoothed classifier answers what its base answers most often under Gaussian noise. With
    probability 1 - alpha a row's answer is the same for every picture nearer than its radius. Each
    row gets n draws; or, with --radii or --tolerance, as many as its question takes. The same
    command goes on where an interrupted one stopped.
    """

    dataset: Path = Field(description="directory of the dataset, as `ingest` writes it")
    base: BaseName = Field("classifier", description=f"what is smoothed. {explained(BASES)}")
    classifier: str | None = Field(None, description=f"of a base that has one: {CLASSIFIER}")
    weights: Path | None = Field(None, description=WEIGHTS)
    rows_per_call: int | None = Field(None, ge=1, description=ROWS_PER_CALL)
    stack: Path | None = Field(None, description="of a base that has one: the stack's directory")
    output: Path = Field(description="directory that the certificate set is written to")
    split: str | None = Field(
        None, description="the dataset's split; none for test, else validation"
    )
    limit: int | None = Field(None, ge=1, description="certify this many rows, from the first")
    sigma: float = Field(
        description="of the noise, in [0, 1] pixels (a stack's own sigma is twice that); 0.25, 0.5 "
        "and 1 are usual"
    )
    noise: NoiseName = Field(
        "gaussian",
        description="gaussian: floats; lattice: whole levels of 1/255, whose certificate holds for "
        "8-bit pictures in floating point, too",
    )
    radii: tuple[float, ...] = Field(
        (),
        description="which of these radii hold? A row stops as soon as that is decided, and the "
        "curve is stated at these alone; as 0.125,0.25,0.5",
    )
    tolerance: float | None = Field(
        None,
        description="how large is the radius, to within this? A row stops as soon as that is known",
    )
    n0: int = Field(100, description="draws that choose the class; not used for its bound")
    n: int = Field(
        100_000, description="draws that bound its share; with radii or tolerance, at most so many"
    )
    alpha: float = Field(
        0.001, description="how often, at most, a row's certificate may be wrong; below 1/2"
    )
    seed: Seed = Field(0, description="keys every draw of noise")
    on_bad_row: OnBadRow = Field("fail", description=DESCRIPTION)
    rows_per_shard: int | None = Field(
        None,
        ge=1,
        description=f"rows in a Parquet file, and in a task; none for {_SHARD_ROWS}, or "
        f"{_SHARD_ROWS_ASKED} where rows stop early",
    )
    num_workers: int | None = Field(
        None, ge=1, description="actors that hold the base; none for all the cluster takes"
    )
    cpus_per_worker: float = Field(1.0, gt=0, description="CPU cores an actor")
    gpus_per_worker: float = Field(
        0.0, ge=0, description="GPUs an actor; above 0 it computes there"
    )
    overwrite: bool = Field(False, description="replace finished results of another config")

    _classifier_spec = field_validator("classifier", mode="before")(classifier_spec)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.radii and self.tolerance is not None:
            raise ValueError(
                "radii and tolerance are two questions, and a row stops by one: give either"
            )
        return self

    @property
    def shard_rows(self) -> int:
        """Rows in a shard."""
        return self.rows_per_shard or (_SHARD_ROWS if self.rule == "fixed" else _SHARD_ROWS_ASKED)

    @property
    def rule(self) -> RuleName:
        """When a row stops."""
        if self.radii:
            return "radii"
        return "fixed" if self.tolerance is None else "tolerance"

    def settings(self) -> CertifySettings:
        """What these values ask; UserError where no number of draws could answer it."""
        return CertifySettings(
            sigma=self.sigma,
            n0=self.n0,
            n=self.n,
            alpha=self.alpha,
            rule=self.rule,
            radii=self.radii,
            tolerance=self.tolerance,
            noise=self.noise,
            seed=self.seed,
        )
