"""Perturbation sets of the same pictures side by side: accuracy against ε, and who broke what.

OUTPUT/accuracy.png       each set's accuracy against the size of the change
OUTPUT/comparison.json    the accuracies, and what each of two sets broke alone; written last
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from noisestack.command import Command
from noisestack.config import JobConfig
from pipeline.formats.claim import claim_output
from pipeline.formats.output import atomic_path, write_json
from pipeline.formats.perturbation.comparison import Difference, check_same_rows, differences
from pipeline.formats.perturbation.set import PerturbationSet, open_perturbation_set
from pipeline.formats.perturbation.warnings import GRADIENT_FREE
from pipeline.plots.robustness import comparison_figure, figures_of
from pipeline.plots.titles import target_title

PICTURE_FILE, RESULTS_FILE = "accuracy.png", "comparison.json"
_FIGURES = ("clean_accuracy", "robust_accuracy", "robust_accuracy_interval_95")


class CompareConfig(JobConfig):
    """Draw the accuracy that perturbation sets of the same pictures leave, and tell them apart.

    Sets with several balls make the curve of accuracy against ε; sets of several attacks, or by
    another model's gradients, show whether one of them breaks what another leaves.
    """

    sets: tuple[Path, ...] = Field(
        min_length=1, description="directories of perturbation sets, of the same rows in one norm"
    )
    output: Path = Field(description=f"directory that {PICTURE_FILE} and {RESULTS_FILE} go to")
    overwrite: bool = Field(False, description="replace the comparison of other sets")


def main(config: CompareConfig) -> Path:
    """Compare sets.

    Returns:
        The directory of the picture and the figures.

    Raises:
        UserError: a set is missing or unfinished, they are not of the same rows and norm, or the
            output is a file or holds other results.
    """
    sets = [open_perturbation_set(path) for path in config.sets]
    check_same_rows(sets)
    names = names_of(sets)
    parts = {
        "job": "compare",
        "sets": [opened.manifest["content_sha256"] for opened in sets],
        "names": names,
    }
    with claim_output(
        config.output, parts, overwrite=config.overwrite, marker=RESULTS_FILE
    ) as output:
        pairs = differences(sets)
        _tell(sets, names, pairs)
        if not output.finished:
            figures = [figures_of(opened.path, opened.manifest) for opened in sets]
            labels = [
                ", ".join(filter(None, (name, target_title(opened.manifest))))
                for name, opened in zip(names, sets, strict=True)
            ]
            figure = comparison_figure(list(zip(labels, figures, strict=True)))
            with atomic_path(output.directory / PICTURE_FILE) as temporary:
                figure.savefig(temporary, format="png")
            write_json(output.directory / RESULTS_FILE, _report(sets, names, pairs))
    print(f"compare: {output.path / PICTURE_FILE}", flush=True)
    return output.path


def _tell(
    sets: Sequence[PerturbationSet], names: Sequence[str], pairs: Sequence[Difference]
) -> None:
    for opened, name in zip(sets, names, strict=True):
        low, high = opened.manifest["robust_accuracy_interval_95"]
        print(
            f"compare: {name}: accuracy {opened.manifest['clean_accuracy']:.2%} clean, "
            f"{opened.manifest['robust_accuracy']:.2%} perturbed (95 % interval {low:.2%} to "
            f"{high:.2%})",
            flush=True,
        )
    for pair in pairs:
        print(f"compare: {_pair_line(pair, sets, names)}", flush=True)


def _report(
    sets: Sequence[PerturbationSet], names: Sequence[str], pairs: Sequence[Difference]
) -> dict[str, Any]:
    """What the terminal says, for programs."""
    return {
        "rows": [sets[0].start, sets[0].stop],
        "norm": sets[0].attack["norm"],
        "sets": [
            {
                "name": name,
                "path": str(opened.path),
                "content_sha256": opened.manifest["content_sha256"],
                "eps": opened.attack["eps"],
                **{key: opened.manifest[key] for key in _FIGURES},
            }
            for name, opened in zip(names, sets, strict=True)
        ],
        "pairs": [
            {
                "names": [names[pair.first], names[pair.second]],
                "broken_by_one_alone": [pair.first_alone, pair.second_alone],
            }
            for pair in pairs
        ],
    }


def names_of(sets: Sequence[PerturbationSet]) -> list[str]:
    """The attack of each set; with its directory where two have the same, or models differ."""
    attacks = [str(opened.attack["attack"]) for opened in sets]
    one_model = len({opened.model_sha256 for opened in sets}) == 1
    if one_model and len(set(attacks)) == len(sets):
        return attacks
    return [f"{attack} in {s.path.name}" for attack, s in zip(attacks, sets, strict=True)]


def _pair_line(pair: Difference, sets: Sequence[PerturbationSet], names: Sequence[str]) -> str:
    first, second = names[pair.first], names[pair.second]
    text = (
        f"{first} broke {pair.first_alone:,} pictures that {second} left standing, and {second} "
        f"{pair.second_alone:,} that {first} left"
    )
    free = [
        (alone, name)
        for alone, place, name, other in (
            (pair.first_alone, pair.first, first, pair.second),
            (pair.second_alone, pair.second, second, pair.first),
        )
        if alone
        and sets[place].attack["attack"] in GRADIENT_FREE
        and sets[other].attack["attack"] not in GRADIENT_FREE
    ]
    if free:
        text += f"; warning: {free[0][1]} uses no gradient of the model: they may be masked"
    return text


COMMAND = Command(CompareConfig, main, summary="perturbation sets side by side: accuracy against ε")

if __name__ == "__main__":
    raise SystemExit(COMMAND.run())
