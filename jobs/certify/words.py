"""What `certify` tells a person."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobs.certify.task import Task
from jobs.common.bad_rows import set_aside
from pipeline.perturbation_terms import TrustWarning


def say(line: str) -> None:
    """One line of the job's."""
    print(f"certify: {line}", flush=True)


def say_task(task: Task) -> None:
    """What is going to be done."""
    settings, certificate = task.settings, task.certificate
    question = f"{settings.n:,} draws a row"
    if settings.rule == "radii":
        asked = ", ".join(f"{radius:g}" for radius in settings.radii)
        question = f"which of the radii {asked} hold, by at most {question}"
    elif settings.rule == "tolerance":
        question = f"the radius to within {settings.tolerance:g}, by at most {question}"
    say(
        f"base {task.config.base}, {settings.noise} noise of sigma {settings.sigma:g} in [0, 1] "
        f"pixels, alpha {settings.alpha:g}: {question}; no radius above "
        f"{certificate['ceiling']:.4g} can come out"
    )


def say_warnings(warnings: Sequence[TrustWarning]) -> None:
    """What speaks against the result."""
    for warning in warnings:
        say(f"warning: {warning.text}")


def say_result(manifest: dict[str, Any], path: Path) -> None:
    """What came of it."""
    counts = manifest["counts"]
    for point in manifest["curve"]:
        low, high = point["interval_95"]
        say(
            f"certified accuracy at radius {point['radius']:g}: {point['accuracy']:.2%} "
            f"(95 % interval {low:.2%} to {high:.2%})"
        )
    # A row whose asked radii are all out of reach is left before its class is shown.
    early = ", or were left as no asked radius holds" if manifest["certificate"]["radii"] else ""
    say(
        f"{counts['abstained']:,} of {counts['rows']:,} rows abstained{early}; "
        f"{manifest['draws_a_row']:,.0f} draws a row"
    )
    if counts["quarantined"]:
        say(f"bad rows: {set_aside(counts['quarantined'], path)}")
