"""The config of `perturb`: what each key means, and the attack that it spells."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from jobs.common.bad_rows import DESCRIPTION, OnBadRow
from noisestack.config import JobConfig
from noisestack.paths import as_path
from pipeline.attacks.base import Norm
from pipeline.attacks.geometry.ball import check_size, whole_levels
from pipeline.attacks.methods.own import OwnAttack, takes_eps
from pipeline.attacks.methods.universal import LOSS_CLIP, SAMPLE_ROWS, SAMPLE_SPLIT, UniversalAttack
from pipeline.attacks.settings import ATTACKS, AttackSettings, default_steps, is_bounded
from pipeline.errors import UserError
from pipeline.formats.perturbation.set import CLASSIFIER_FILE
from pipeline.importable import is_importable
from pipeline.perturbation.transfer import TransferAttack
from pipeline.perturbation_terms import NO_TARGET, TRANSFER, UNIVERSAL

_EPS_LEVELS = 8
_OF_UNIVERSAL = ("sample_rows", "sample_split", "loss_clip")
CLASSIFIER = (
    "directory of a classifier, as train-classifier or transformers write it; or module:function, "
    "which returns a torch module from [N, C, H, W] in [0, 1] to logits"
)
WEIGHTS = "safetensors file for a classifier that is module:function; none where it loads its own"
ROWS_PER_CALL = "pictures a call of a classifier that is not Noisestack's; none for 64"


def classifier_spec(value: Any) -> Any:
    """A classifier as it is given, its path made absolute; for use as a validator."""
    if isinstance(value, Path) or (isinstance(value, str) and not is_importable(value)):
        return str(as_path(value))
    return value


class PerturbConfig(JobConfig):
    """Find, for every picture of a split, a small change that makes a classifier wrong.

    The set is stored in 8 bits, every row inside its ball, and verified after it was stored. The
    same command goes on where an interrupted one stopped.
    """

    dataset: Path = Field(description="directory of the dataset, as `ingest` writes it")
    classifier: str = Field(description=f"what to fool: {CLASSIFIER}")
    weights: Path | None = Field(None, description=WEIGHTS)
    rows_per_call: int | None = Field(None, ge=1, description=ROWS_PER_CALL)
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
    ensemble: Literal["standard", "fast"] | None = Field(
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
    norm: Literal["linf", "l2", "l1"] = Field(
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
    seed: int = Field(0, ge=0, description="keys all that an attack draws")
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

    def settings(self) -> AttackSettings | OwnAttack | UniversalAttack | TransferAttack:
        """The attack that these values spell; UserError where they contradict each other."""
        self.check_sizes()
        if self.attack == TRANSFER:
            return self._transfer()
        self._refuse({"source": self.source})
        if self.attack == UNIVERSAL:
            return self._universal()
        self._refuse({name: getattr(self, name) for name in _OF_UNIVERSAL})
        if is_importable(self.attack):
            return self._own_attack()
        return AttackSettings(
            attack=self.attack,
            norm=Norm(self.norm),
            eps_levels=self._eps_levels(),
            steps=self.steps if self.steps is not None else default_steps(self.attack),
            step_size=self.step_size,
            restarts=self.restarts,
            seed=self.seed,
            ensemble=self._ensemble(),
            target=self.target,
            draws=self.eot_draws,
        )

    def check_sizes(self, shape: Sequence[int] = ()) -> None:
        """Raises UserError where eps or step_size is more than any change of a picture has.

        Args:
            shape: of the pictures; without it only L∞ is looked at.
        """
        lengths = {"eps": self.eps}
        if self.attack != "ascent":  # there it is a factor of the gradient
            lengths["step_size"] = self.step_size
        for name, value in lengths.items():
            if value is not None:
                check_size(name, value, Norm(self.norm), shape)

    def _ensemble(self) -> Literal["standard", "fast"] | None:
        return self.ensemble or ("standard" if self.attack == "autoattack" else None)

    def _own_attack(self) -> OwnAttack:
        self._refuse(self._of_ours())
        default = _EPS_LEVELS if takes_eps(self.attack) else 0
        levels = default if self.eps is None else whole_levels(self.eps, Norm(self.norm))
        return OwnAttack(self.attack, Norm(self.norm), levels, self.seed)

    def _of_ours(self) -> dict[str, Any]:
        """What our attacks alone are told, where it was given."""
        return {
            "steps": self.steps,
            "step_size": self.step_size,
            "restarts": self.restarts - 1,
            "ensemble": self.ensemble,
            "target": self.target != NO_TARGET,
            "eot_draws": self.eot_draws - 1,
        }

    def _transfer(self) -> TransferAttack:
        of_others = {name: getattr(self, name) for name in _OF_UNIVERSAL}
        given = {"norm": "norm" in self.model_fields_set, "eps": self.eps, "seed": self.seed}
        self._refuse({**self._of_ours(), **given, **of_others})
        if self.source is None:
            raise UserError(
                f"the attack {TRANSFER} needs --source, a perturbation set made against another "
                "classifier on the same rows"
            )
        return TransferAttack.of(self.source)

    def _universal(self) -> UniversalAttack:
        self._refuse({"ensemble": self.ensemble, "eot_draws": self.eot_draws - 1})
        given = {name: getattr(self, name) for name in ("steps", "step_size", *_OF_UNIVERSAL)}
        return UniversalAttack(
            norm=Norm(self.norm),
            eps_levels=self._eps_levels(),
            restarts=self.restarts,
            seed=self.seed,
            target=self.target,
            **{name: value for name, value in given.items() if value is not None},
        )

    def _refuse(self, given: Mapping[str, Any]) -> None:
        """UserError for the first value that the attack would silently ignore."""
        for name, value in given.items():
            if value:
                raise UserError(f"the attack {self.attack} is not told {name}; leave it out")

    def _eps_levels(self) -> int:
        if self.eps is not None:
            return whole_levels(self.eps, Norm(self.norm))
        return _EPS_LEVELS if is_bounded(self.attack) else 0
