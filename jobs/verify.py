"""Checks what a directory holds against its manifest: files, rows, counts, and who made them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import CliPositionalArg

from jobs.common.progress import Progress
from jobs.common.user_classifier import WEIGHTS, classifier_spec
from noisestack.command import Command
from noisestack.config import JobConfig, Seed
from noisestack.paths import path_or_name
from pipeline.certification.opened import open_same_base
from pipeline.certification.redraw import dataset_faults, redraw_faults
from pipeline.classifier import FrozenClassifier
from pipeline.errors import UserError
from pipeline.formats.certificate.set import is_certificate_set, read_certificate_manifest
from pipeline.formats.dataset import load_dataset
from pipeline.formats.embedding_set import is_embedding_set, read_embedding_manifest
from pipeline.formats.perturbation.check import verify_perturbation_set
from pipeline.formats.perturbation.set import read_perturbation_manifest
from pipeline.formats.perturbation.through import is_through
from pipeline.formats.sample_set import read_sample_manifest
from pipeline.perturbation.judge import judge_of
from pipeline.perturbation.through.entry import ThroughOptions
from pipeline.perturbation.trust import stale_warnings
from pipeline.perturbation.workplace import seen_through
from pipeline.text.encoder import encoder_for
from pipeline.user_models.load import load_judge, rows_to_tell
from pipeline.verification.directory import Verification, verify_directory
from pipeline.verification.embedding_check import dataset_faults as embedded_faults
from pipeline.verification.embedding_check import embed_again
from pipeline.verification.prompt_claims import condition_faults, open_conditions_of

FAULTS_FOUND = 1
_TOGETHER = (
    "dataset and classifier are given together, or neither (of a stack that is its own "
    "classifier: dataset and stack)"
)


class VerifyConfig(JobConfig):
    """Check a dataset, a set, a model, an evaluation, a boundary or a training run.

    Every file is hashed, every id compared with all others, every label and number looked at; of a
    perturbation set what each row's pictures and columns imply; of a certificate set every bound
    and radius, counted again from its votes. Exit code 0 without a fault, 1 with one line for each.
    """

    directory: CliPositionalArg[Path] = Field(description="what is to be checked")
    dataset: Path | None = Field(
        None,
        description="perturbation or certificate set: the dataset that was perturbed or certified; "
        "with classifier, or what else was smoothed. Embedding set: the dataset that was embedded",
    )
    classifier: str | None = Field(
        None,
        description="perturbation set: the classifier, in any form that perturb takes, or an ONNX "
        "file that perturb wrote; with dataset, every picture and prediction is worked out again. "
        "Certificate set: the classifier that was smoothed",
    )
    weights: Path | None = Field(None, description=WEIGHTS)
    stack: Path | None = Field(
        None,
        description="the stack of a perturbation set made through a purifier, with classifier, or "
        "of a certificate set whose base has one, with dataset",
    )
    text_encoder: str | None = Field(
        None,
        description="embedding set: the encoder that made it, by which some captions are embedded "
        "again; with dataset. Sample set drawn on sentences: every prompt is encoded again",
    )
    redraw: int = Field(
        8,
        ge=0,
        description="rows of a certificate set that the base votes on again, with dataset; of an "
        "embedding set that are embedded again, with text-encoder",
    )
    redraw_seed: Seed = Field(
        0, description="chooses these rows; take a number that the set's maker cannot know"
    )
    limit: int = Field(10, ge=1, description="faults of each kind that are told in full")
    threads: int | None = Field(
        None, ge=1, description="files hashed at a time; none for as many as there are CPUs"
    )

    _classifier_spec = field_validator("classifier", mode="before")(classifier_spec)

    @field_validator("text_encoder")
    @classmethod
    def _path_or_name(cls, value: str | None) -> str | None:
        return None if value is None else path_or_name(value)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.dataset is None and (self.classifier is not None or self.stack is not None):
            raise ValueError(_TOGETHER)
        return self


def main(config: VerifyConfig) -> int:
    """Tells the faults of what stands in ``config.directory``.

    Returns:
        The exit code: 0, or 1 if there are faults.

    Raises:
        UserError: the directory holds nothing that can be checked.
    """
    if not config.directory.is_dir():
        raise UserError(f"there is no directory {config.directory}; check the path")
    comparison = _comparison(config)
    verification = verify_directory(
        config.directory,
        limit=config.limit,
        threads=config.threads or os.cpu_count() or 1,
        progress=lambda total: Progress("verify", total).add,
    )
    lines, num_faults = verification.faults.lines(), len(verification.faults)
    praise = "; no vote was cast again, which takes the dataset and what was smoothed"
    praise = praise if is_certificate_set(config.directory) else ""
    if comparison is not None:
        try:
            compared, praise = comparison(verification)
        except (UserError, IndexError) as error:  # such as a shard that is missing, or cut short
            known = config.classifier is not None or config.stack is not None
            beside = "dataset and classifier" if known else "what was given"
            compared = (f"the rows could not be compared with {beside}: {error}",)
        lines += compared
        num_faults += len(compared)
    for line in lines:
        print(line)
    if num_faults:
        print(f"{num_faults:,} fault{'s' if num_faults > 1 else ''}", flush=True)
        return FAULTS_FOUND
    print(_praise(verification) + praise, flush=True)
    return 0


# From what was found alone to the faults, and what is said where there are none.
Comparison = Callable[[Verification], tuple[tuple[str, ...], str]]


def _comparison(config: VerifyConfig) -> Comparison | None:
    """A function that compares each row with dataset and model.

    Both are opened here, before any file is checked: a wrong path shows at once. None unless the
    config names a dataset, or the encoder of a sample set's prompts.
    """
    if is_embedding_set(config.directory):
        return _embedded_again(config)
    if config.text_encoder is not None:
        if config.dataset is not None:
            raise UserError(f"{config.directory} is no embedding set; give the text encoder alone")
        return _encoded_again(config.directory, config.text_encoder)
    if config.dataset is None:
        return None
    if config.classifier is None and config.stack is None:
        raise UserError(_TOGETHER)
    if is_certificate_set(config.directory):
        return _redrawn(config, config.dataset)
    if config.classifier is None:
        raise UserError(f"{config.directory} is no certificate set; give the classifier")
    opened = read_perturbation_manifest(config.directory)
    info = load_dataset(config.dataset)
    model = opened.manifest["model"]
    behind = model["classifier"] if is_through(opened.manifest) else model
    rows = rows_to_tell(behind, model)
    classifier = load_judge(config.classifier, info, weights=config.weights, rows_per_call=rows)
    if behind is not model:
        if config.stack is None or not isinstance(classifier, FrozenClassifier):
            raise UserError(
                f"{config.directory} was made through a {model['through']}: give --stack, and the "
                "classifier itself"
            )
        through = ThroughOptions(model["through"], config.stack, model["purifier_layers"])
        classifier = seen_through(classifier, through, info)
    judge = judge_of(classifier, opened.attack)

    def compare(_: Verification) -> tuple[tuple[str, ...], str]:
        faults = verify_perturbation_set(config.directory, judge, info, alone=False).faults
        if not faults and isinstance(classifier, FrozenClassifier):
            stale = stale_warnings(classifier, opened, info)
            faults = (stale,) if stale else ()
        return faults, "; compared with dataset and classifier"

    return compare


def _redrawn(config: VerifyConfig, dataset: Path) -> Comparison:
    """The same of a certificate set: its rows held against the dataset, some voted on again."""
    opened, info = read_certificate_manifest(config.directory), load_dataset(dataset)
    base = open_same_base(
        opened,
        info,
        classifier=config.classifier,
        weights=config.weights,
        stack=config.stack,
    )

    def compare(found: Verification) -> tuple[tuple[str, ...], str]:
        faults = dataset_faults(opened, info)
        faults = faults or redraw_faults(opened, base, info, config.redraw, config.redraw_seed)
        redrawn = min(config.redraw, found.num_rows)
        return faults, f"; they are the dataset's, and {redrawn:,} were voted on again"

    return compare


def _encoded_again(directory: Path, text_encoder: str) -> Comparison:
    """The same of a sample set that was drawn on sentences: every prompt encoded again."""
    reader = open_conditions_of(directory, text_encoder)
    total = read_sample_manifest(directory).num_rows
    progress = Progress("encode", total)

    def compare(_: Verification) -> tuple[tuple[str, ...], str]:
        faults = condition_faults(directory, reader, progress.add)
        return tuple(faults), "; every prompt was encoded again"

    return compare


def _embedded_again(config: VerifyConfig) -> Comparison | None:
    """The same of an embedding set: its ids held against the dataset, some rows embedded again."""
    if config.classifier is not None or config.stack is not None:
        raise UserError(f"{config.directory} is an embedding set: give --text-encoder, if anything")
    if config.dataset is None:
        if config.text_encoder is None:
            return None
        raise UserError(
            f"{config.directory} is an embedding set: give --dataset, too, which has the captions"
        )
    opened, info = read_embedding_manifest(config.directory), load_dataset(config.dataset)
    named = config.text_encoder
    encoder = None if named is None else encoder_for(opened.encoder, named)

    def compare(_: Verification) -> tuple[tuple[str, ...], str]:
        faults = embedded_faults(opened, info)
        if faults or encoder is None:
            return faults, "; they are the dataset's"
        again = embed_again(opened, info, encoder, config.redraw, config.redraw_seed)
        return again.faults, (
            f"; they are the dataset's, and {again.num:,} were embedded again, "
            f"{again.exact:,} of them to the same bits"
        )

    return compare


def _praise(verification: Verification) -> str:
    if not verification.in_rows:
        return f"ok: {verification.kind}, {verification.num_files} files"
    aside = (
        f", {verification.num_quarantined:,} quarantined" if verification.num_quarantined else ""
    )
    shards = f"{verification.num_files:,} shard{'s' * (verification.num_files != 1)}"
    return f"ok: {verification.kind}, {verification.num_rows:,} rows in {shards}{aside}"


COMMAND = Command(
    VerifyConfig,
    main,
    summary="check a dataset, set, model or run against its manifest",
)
if __name__ == "__main__":
    raise SystemExit(COMMAND.run())
