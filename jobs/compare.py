"""Perturbation sets of the same pictures side by side: accuracy against ε, and who broke what.

OUTPUT    a PNG: each set's accuracy against the size of the change
"""

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from noisestack.command import Command
from noisestack.config import JobConfig
from pipeline.errors import UserError
from pipeline.formats.output import atomic_path
from pipeline.formats.perturbation_comparison import Difference, check_same_rows, differences
from pipeline.formats.perturbation_set import PerturbationSet, open_perturbation_set
from pipeline.formats.perturbation_warnings import GRADIENT_FREE
from pipeline.plots.robustness import comparison_figure, figures_of


class CompareConfig(JobConfig):
    """Draw the accuracy that perturbation sets of the same pictures leave, and tell them apart.

    Sets with several balls make the curve of accuracy against ε; sets of several attacks, or by
    another model's gradients, show whether one of them breaks what another leaves.
    """

    sets: tuple[Path, ...] = Field(
        min_length=1, description="directories of perturbation sets, of the same rows in one norm"
    )
    output: Path = Field(description="the PNG that is written")


def main(config: CompareConfig) -> Path:
    """Compare sets.

    Returns:
        The picture's path.

    Raises:
        UserError: a set is missing or unfinished, or they are not of the same rows and norm.
    """
    if config.output.suffix.lower() != ".png":
        raise UserError(f"{config.output} does not end in .png; the picture is a PNG")
    sets = [open_perturbation_set(path) for path in config.sets]
    check_same_rows(sets)
    names = names_of(sets)
    for opened, name in zip(sets, names, strict=True):
        low, high = opened.manifest["robust_accuracy_interval_95"]
        print(
            f"compare: {name}: accuracy {opened.manifest['clean_accuracy']:.2%} clean, "
            f"{opened.manifest['robust_accuracy']:.2%} perturbed (95 % interval {low:.2%} to "
            f"{high:.2%})",
            flush=True,
        )
    for difference in differences(sets):
        print(f"compare: {_told(difference, sets, names)}", flush=True)
    figures = [figures_of(opened.path, opened.manifest) for opened in sets]
    figure = comparison_figure(list(zip(names, figures, strict=True)))
    with atomic_path(config.output) as temporary:
        figure.savefig(temporary, format="png")
    print(f"compare: {config.output}", flush=True)
    return config.output


def names_of(sets: Sequence[PerturbationSet]) -> list[str]:
    """The attack of each set; with its directory where two have the same, or models differ."""
    attacks = [str(opened.attack["attack"]) for opened in sets]
    one_model = len({opened.model_sha256 for opened in sets}) == 1
    if one_model and len(set(attacks)) == len(sets):
        return attacks
    return [f"{attack} in {s.path.name}" for attack, s in zip(attacks, sets, strict=True)]


def _told(found: Difference, sets: Sequence[PerturbationSet], names: Sequence[str]) -> str:
    first, second = names[found.first], names[found.second]
    text = (
        f"{first} broke {found.first_alone:,} pictures that {second} left standing, and {second} "
        f"{found.second_alone:,} that {first} left"
    )
    free = [
        (alone, name)
        for alone, place, name, other in (
            (found.first_alone, found.first, first, found.second),
            (found.second_alone, found.second, second, found.first),
        )
        if alone
        and sets[place].attack["attack"] in GRADIENT_FREE
        and sets[other].attack["attack"] not in GRADIENT_FREE
    ]
    if free:
        text += f"; warning: {free[0][1]} uses no gradient of the model: they may be masked"
    return text


COMMAND = Command(CompareConfig, main)

if __name__ == "__main__":
    raise SystemExit(COMMAND.run())
