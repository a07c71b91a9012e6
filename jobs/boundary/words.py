"""What `boundary` tells a person."""

from pipeline.boundary.figures import figures_of
from pipeline.boundary.survey import Survey

_WAYS = {
    "along_adversarial": "chosen",
    "along_gradient": "gradient",
    "along_random": "random",
}


def say(line: str) -> None:
    """One line of the job's."""
    print(f"boundary: {line}", flush=True)


def say_survey(name: str, survey: Survey) -> None:
    """Accuracy, and how far off the boundary is in each direction."""
    figures = figures_of(survey)
    medians = figures["median_distance"]
    distances = ", ".join(
        f"{word} {'beyond' if medians[way] is None else f'{medians[way]:.3g}'}"
        for way, word in _WAYS.items()
    )
    say(
        f"{name}: {figures['right']:,} of {figures['rows']:,} rows right; median distance to the "
        f"boundary in L2: {distances}"
    )
