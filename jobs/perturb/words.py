"""What `perturb` tells a person."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobs.common.bad_rows import set_aside
from jobs.perturb.config import PerturbConfig
from pipeline.formats.perturbation.through import is_through
from pipeline.perturbation.attack import SetAttack
from pipeline.perturbation_terms import TrustWarning
from pipeline.pictures import LEVELS


def say(line: str) -> None:
    """One line of the job's."""
    print(f"perturb: {line}", flush=True)


def say_attack(config: PerturbConfig, attack: SetAttack) -> None:
    """What is going to be done, and where eps was cut to whole levels."""
    settings = attack.settings
    if not settings.bounded:
        say(f"{config.attack}, the smallest change in {settings.norm.value}")
        return
    levels = settings.eps_levels if config.eps is None else config.eps * LEVELS
    rounded = (
        "" if abs(levels - settings.eps_levels) < 1e-6 else f", rounded down from {levels:.2f}"
    )
    say(
        f"{config.attack} in {settings.norm.value}, eps {settings.eps_levels} levels of "
        f"1/255 ({settings.eps_levels / LEVELS:.4f}){rounded}{attack.said_steps()}"
    )


def say_warnings(warnings: Sequence[TrustWarning]) -> None:
    """What speaks against the result."""
    for warning in warnings:
        say(f"warning: {warning.text}")


def say_result(attack: SetAttack, manifest: dict[str, Any], path: Path) -> None:
    """What came of it."""
    low, high = manifest["robust_accuracy_interval_95"]
    counts = manifest["counts"]
    if is_through(manifest):
        _say_part(attack, manifest, path)
        return
    say(
        f"accuracy {manifest['clean_accuracy']:.2%} clean, "
        f"{manifest['robust_accuracy']:.2%} perturbed (95 % interval {low:.2%} to {high:.2%}); "
        f"{counts['verified']:,} of {counts['rows']:,} rows verified after storage; "
        f"{counts['backwards'] / counts['rows']:.1f} gradients a row{_median_change(manifest)}"
    )
    for line in attack.lines(manifest):
        say(line)
    if counts["quarantined"]:
        say(f"bad rows: {set_aside(counts['quarantined'], path)}")


def _say_part(attack: SetAttack, manifest: dict[str, Any], path: Path) -> None:
    """What is said of a classifier behind a purifier: no accuracy, which one set cannot give."""
    counts, draws = manifest["counts"], attack.settings.draws
    say(
        f"broke {counts['successes']:,} of {counts['clean_right']:,} rows by the mean over {draws} "
        "purifications; how accurate that classifier is under attack, no single set says: "
        "`noisestack purification` judges this one beside others, by fresh purifications"
    )
    if counts["quarantined"]:
        say(f"bad rows: {set_aside(counts['quarantined'], path)}")


def _median_change(manifest: dict[str, Any]) -> str:
    """How far off the broken pictures are, of an attack that looks for the smallest change."""
    norm, median = manifest["attack"]["norm"], manifest["norms"]["median_of_broken"]
    if manifest["attack"]["eps"] or median is None:
        return ""
    unit = " levels of 1/255" if norm == "linf" else ""
    return f"; median change of the broken ones {median:.4g}{unit} in {norm}"
