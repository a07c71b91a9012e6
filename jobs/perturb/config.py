"""The config of `perturb`: what each key means, and the attack that it spells."""

from dataclasses import fields
from pathlib import Path
from typing import Self

from pydantic import Field, field_validator, model_validator

from jobs.common.bad_rows import DESCRIPTION, OnBadRow
from jobs.common.user_classifier import CLASSIFIER, ROWS_PER_CALL, WEIGHTS, classifier_spec
from noisestack.config import JobConfig, Seed
from pipeline.attacks.base import Norm, NormName
from pipeline.attacks.methods.autoattack import EnsembleName
from pipeline.attacks.methods.universal import LOSS_CLIP, SAMPLE_ROWS, SAMPLE_SPLIT
from pipeline.attacks.settings import ATTACKS
from pipeline.formats.perturbation.set import CLASSIFIER_FILE
from pipeline.perturbation.attack import SetAttack
from pipeline.perturbation.kinds import attack_of
from pipeline.perturbation.options import AttackOptions
from pipeline.perturbation.through import THROUGH, ThroughName
from pipeline.perturbation.through.entry import ThroughOptions
from pipeline.perturbation.through.purifier import LAYERS
from pipeline.perturbation_terms import TRANSFER, UNIVERSAL
from pipeline.registry import explained


class PerturbConfig(JobConfig):
    """Find, for every picture of a split, a small change that makes a classifier wrong.

    The set is stored in 8 bits, every row inside its ball, and verified after it was stored. The
    same command goes on where an interrupted one stopped.
    """

    dataset: Path = Field(description="directory of the dataset, as `ingest` writes it")
    classifier: str = Field(description=f"what to fool: {CLASSIFIER}")
    weights: Path | None = Field(None, description=WEIGHTS)
    rows_per_call: int | None = Field(None, ge=1, description=ROWS_PER_CALL)
    through: ThroughName | None = Field(
        None,
        description="what the classifier is seen through, with gradients through both; with "
        f"--eot-draws, since it answers by chance; none for nothing; {explained(THROUGH)}",
    )
    stack: Path | None = Field(None, description="of through: directory of the stack")
    purifier_layers: int | None = Field(
        None,
        ge=1,
        description=f"of through purifier: layers of the chain that a picture goes down and up "
        f"again; none for {LAYERS}",
    )
    output: Path = Field(description="directory that the perturbation set is written to")
    split: str | None = Field(
        None, description="the dataset's split; none for test, else validation"
    )
    limit: int | None = Field(None, ge=1, description="perturb this many rows, from the first")
    attack: str = Field(
        "pgd",
        description=f"one of {', '.join(ATTACKS)}; {UNIVERSAL}, one perturbation for all; "
        f"{TRANSFER}, another set's pictures; or your own as module:function, called as "
        "(model, x, y, eps)",
    )
    source: Path | None = Field(
        None,
        description=f"of {TRANSFER}: directory of the perturbation set whose pictures are shown to "
        "the classifier; norm and eps are that set's",
    )
    ensemble: EnsembleName | None = Field(
        None,
        description="of autoattack: standard (unless told otherwise), or fast, which stops where "
        "little is gained and audits a sample of what withstood with the standard attacks",
    )
    target: str = Field(
        "none",
        description="the class to be answered: none for any wrong one; least_likely, random, next; "
        "or a class by name or number, one that is called like a rule by number",
    )
    sample_rows: int | None = Field(
        None,
        ge=1,
        description=f"of {UNIVERSAL}: pictures that the perturbation is made from, drawn by seed "
        f"and id; none for {SAMPLE_ROWS}",
    )
    sample_split: str | None = Field(
        None,
        description=f"of {UNIVERSAL}: the split that these pictures come from; none for "
        f"{SAMPLE_SPLIT}",
    )
    loss_clip: float | None = Field(
        None,
        gt=0,
        description=f"of {UNIVERSAL}: cross-entropy, in nats, from which on a picture pulls no "
        f"more; none for {LOSS_CLIP}; with a target there is none",
    )
    eot_draws: int = Field(
        1,
        ge=1,
        description="for a classifier that answers by chance: copies of a picture whose logits are "
        "averaged, in the attack and in the judgement; 1 for one that does not",
    )
    norm: NormName = Field(
        "linf",
        description="what eps bounds: the largest change, the change's length, or its sum",
    )
    eps: float | None = Field(
        None,
        gt=0,
        description="radius of the ball in [0, 1] units, such as 8/255, in whole levels of 1/255, "
        "at most the largest change that a picture can have; none for 8/255, "
        "and for attacks that look for the smallest change, which have no ball",
    )
    steps: int | None = Field(
        None, ge=1, description="gradient steps, or queries of square; none for the attack's own"
    )
    step_size: float | None = Field(
        None,
        gt=0,
        description="α, in [0, 1] units; none for 2.5 eps / steps; ascent needs one, "
        "a factor of the gradient by logits of spread 20",
    )
    restarts: int = Field(
        1,
        ge=1,
        description="how often an unbroken row, or the making of universal, begins anew; of "
        "apgd_targeted, its classes",
    )
    seed: Seed = Field(0, description="keys all that an attack draws")
    export_onnx: bool = Field(
        False,
        description=f"also write {CLASSIFIER_FILE}, for checks without Noisestack; needs the extra "
        "onnx",
    )
    on_bad_row: OnBadRow = Field("fail", description=DESCRIPTION)
    rows_per_shard: int = Field(1024, ge=1, description="rows in a Parquet file, and in a task")
    examples: int = Field(8, ge=1, le=32, description="rows shown in perturbations.png")
    num_workers: int | None = Field(
        None, ge=1, description="actors that hold the classifier; none for all the cluster takes"
    )
    cpus_per_worker: float = Field(1.0, gt=0, description="CPU cores an actor")
    gpus_per_worker: float = Field(
        0.0, ge=0, description="GPUs an actor; above 0 it computes there"
    )
    overwrite: bool = Field(False, description="replace finished results of another config")

    _classifier_spec = field_validator("classifier", mode="before")(classifier_spec)

    @model_validator(mode="after")
    def _check_through(self) -> Self:
        if self.through is None and (self.stack or self.purifier_layers):
            raise ValueError("stack and purifier_layers go with through")
        if self.through is not None and self.export_onnx:
            raise ValueError("a classifier that answers by chance has no ONNX file; leave it out")
        return self

    def through_options(self) -> ThroughOptions | None:
        """What the classifier is seen through; None for nothing."""
        if self.through is None:
            return None
        return ThroughOptions(self.through, self.stack, self.purifier_layers)

    def options(self) -> AttackOptions:
        """What these values say of the attack."""
        names = {field.name for field in fields(AttackOptions)} - {"norm", "norm_is_said"}
        return AttackOptions(
            norm=Norm(self.norm),
            norm_is_said="norm" in self.model_fields_set,
            **{name: getattr(self, name) for name in names},
        )

    def set_attack(self) -> SetAttack:
        """The attack that these values spell; UserError where they contradict each other."""
        return attack_of(self.options())
