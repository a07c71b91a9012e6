"""How accurate a classifier behind a purifier is under attack, by the whole protocol or not at all.

OUTPUT/purification.json    each set judged by fresh purifications, the curve, the verdict
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, field_validator

from jobs.common.user_classifier import CLASSIFIER, ROWS_PER_CALL, WEIGHTS, classifier_spec
from noisestack.command import Command
from noisestack.config import JobConfig, Seed
from pipeline.errors import UserError
from pipeline.formats.claim import claim_output
from pipeline.formats.dataset import images_of, load_dataset
from pipeline.formats.output import write_json
from pipeline.formats.perturbation.comparison import check_same_rows
from pipeline.formats.perturbation.set import PerturbationSet, open_perturbation_set
from pipeline.formats.shard import iterate
from pipeline.perturbation.purification import (
    Entry,
    flatness,
    judge_fresh,
    ladder_of,
    missing,
    role_of,
    worst,
)
from pipeline.perturbation.through.purifier import LAYERS, PurifiedClassifier, load_purifying_stack
from pipeline.user_models.load import load_classifier

RESULTS_FILE = "purification.json"


class PurificationConfig(JobConfig):
    """Judge perturbation sets by fresh purifications, and say what accuracy they leave together.

    It refuses unless there are sets with gradients through the purifier by several numbers of
    draws, one by square, and one against the bare classifier; and it gives no single number while
    more draws still break more.
    """

    dataset: Path = Field(description="directory of the dataset that was perturbed")
    classifier: str = Field(description=f"the classifier behind the purifier: {CLASSIFIER}")
    weights: Path | None = Field(None, description=WEIGHTS)
    rows_per_call: int | None = Field(None, ge=1, description=ROWS_PER_CALL)
    stack: Path = Field(description="directory of the stack that purifies")
    purifier_layers: int = Field(
        LAYERS, ge=1, description="layers of its chain that a picture goes down and up again"
    )
    sets: tuple[Path, ...] = Field(
        min_length=1,
        description="directories of perturbation sets of the same rows, norm and eps, made with "
        "perturb --through purifier, and one at least without",
    )
    purifications: int = Field(20, ge=2, le=1024, description="fresh purifications of each picture")
    seed: Seed = Field(0, description="keys the fresh purifications, which no attack's draws share")
    device: str = Field("cpu", description="where to compute: cpu, or cuda")
    output: Path = Field(description=f"directory that {RESULTS_FILE} goes to")
    overwrite: bool = Field(False, description="replace the results of other sets")

    _classifier_spec = field_validator("classifier", mode="before")(classifier_spec)


def main(config: PurificationConfig) -> Path:
    """Judge sets.

    Returns:
        The directory of the figures.

    Raises:
        UserError: a part of the protocol is missing, a set is of another classifier, purifier,
            rows or eps, or the output holds other results.
    """
    info = load_dataset(config.dataset)
    bare = load_classifier(
        config.classifier,
        info,
        weights=config.weights,
        rows_per_call=config.rows_per_call,
        device=config.device,
    )
    stack = load_purifying_stack(config.stack, info, config.device)
    purified = PurifiedClassifier(bare, stack, config.purifier_layers)
    sets = [open_perturbation_set(path) for path in config.sets]
    _check(sets)
    roles = [role_of(opened, purified.sha256, bare.sha256) for opened in sets]
    adaptive = [(place, sets[place].attack) for place, r in enumerate(roles) if r == "adaptive"]
    ladder = ladder_of(adaptive)
    if lacks := missing(roles, len(ladder)):
        raise UserError(f"no accuracy stands on these sets alone; give also {'; and '.join(lacks)}")
    parts = {
        "job": "purification",
        "sets": [opened.manifest["content_sha256"] for opened in sets],
        "classifier_sha256": purified.sha256,
        "purifications": config.purifications,
        "seed": config.seed,
    }
    with claim_output(
        config.output, parts, overwrite=config.overwrite, marker=RESULTS_FILE
    ) as output:
        if not output.finished:
            entries = _judged(config, purified, sets, roles)
            # The clean pictures are the first entry.
            fewer, more = (entries[1 + place].fresh for place in ladder[-2:])
            curve = flatness(fewer, more)
            report = {
                "model": {"sha256": purified.sha256, **purified.origin},
                "eps": sets[0].attack["eps"],
                "norm": sets[0].attack["norm"],
                "table": [entry.figures() for entry in entries],
                "curve": {"draws": [entries[1 + place].draws for place in ladder], **curve},
                "all_attacks": worst(entries) if curve["flat"] else None,
            }
            for line in lines_of(report):
                print(f"purification: {line}", flush=True)
            write_json(output.directory / RESULTS_FILE, report)
    print(f"purification: {output.path / RESULTS_FILE}", flush=True)
    return output.path


def _check(sets: Sequence[PerturbationSet]) -> None:
    check_same_rows(sets)
    for opened in sets:
        if opened.attack["eps"] != sets[0].attack["eps"]:
            raise UserError(
                f"{opened.path} and {sets[0].path} differ in eps, {opened.attack['eps']} and "
                f"{sets[0].attack['eps']} levels; give sets of one ball"
            )
        if opened.quarantine:
            raise UserError(f"{opened.path} lacks rows that it set aside as bad; leave them out")


def _judged(
    config: PurificationConfig,
    purified: PurifiedClassifier,
    sets: Sequence[PerturbationSet],
    roles: Sequence[Any],
) -> list[Entry]:
    """The clean pictures first, then each set."""
    how = {"purifications": config.purifications, "seed": config.seed}
    entries: list[Entry] = []
    for opened, role in zip(sets, roles, strict=True):
        tables = list(iterate(opened.path, opened.shards, ["row", "label", "image", "adversarial"]))
        rows, labels = (
            np.concatenate([table.column(name).to_numpy() for table in tables])
            for name in ("row", "label")
        )
        clean, perturbed = (
            np.concatenate([images_of(table, name) for table in tables])
            for name in ("image", "adversarial")
        )
        if not entries:
            fresh = judge_fresh(purified, clean, labels, rows, **how)
            entries.append(Entry("clean", "clean", 0, fresh))
        fresh = judge_fresh(purified, perturbed, labels, rows, **how)
        attack = opened.attack
        entries.append(Entry(str(attack["attack"]), role, int(attack.get("draws", 1)), fresh))
    return entries


def lines_of(report: dict[str, Any]) -> list[str]:
    """The table and the verdict for a person."""
    lines = [
        f"{row['attack']} ({row['role']}{_draws(row)}): one purification "
        f"{_points(row, 'one_purification')}, majority of {row['purifications']} "
        f"{_points(row, 'majority')}"
        for row in report["table"]
    ]
    curve = report["curve"]
    low, high = curve["interval_95"]
    last = f"from {curve['draws'][-2]} to {curve['draws'][-1]} draws"
    step = f"{curve['drop_points']:.1f} points ({low:.1f} to {high:.1f}) lost {last}"
    if report["all_attacks"] is None:
        return [*lines, f"no single number: {step}; make a set with more --eot-draws"]
    together = report["all_attacks"]
    return [
        *lines,
        f"the curve over draws is flat: {step}",
        f"all attacks together: one purification {_points(together, 'one_purification')}, "
        f"majority {_points(together, 'majority')}",
    ]


def _draws(row: dict[str, Any]) -> str:
    return f", {row['draws']} draws" if row["role"] in ("adaptive", "square") else ""


def _points(figures: dict[str, Any], name: str) -> str:
    low, high = figures[f"{name}_interval_95"]
    return f"{figures[f'{name}_accuracy']:.1%} ({low:.1%} to {high:.1%})"


COMMAND = Command(
    PurificationConfig, main, summary="accuracy behind a purifier, by a whole protocol"
)

if __name__ == "__main__":
    raise SystemExit(COMMAND.run())
