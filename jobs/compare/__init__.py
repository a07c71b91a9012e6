"""Sets of the same pictures side by side: accuracy against ε, who broke what, what is certified.

OUTPUT/accuracy.png       each set's accuracy against the size of the change
OUTPUT/comparison.json    the accuracies, what each of two sets broke alone, and what attacks found
                          within certified radii; written last
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobs.compare.certified import Beside, beside, certified_line, certified_report, opened_bases
from jobs.compare.config import PICTURE_FILE, RESULTS_FILE, CompareConfig
from noisestack.command import Command
from pipeline.formats.certificate.comparison import check_same_pictures
from pipeline.formats.certificate.set import (
    CertificateSet,
    is_certificate_set,
    open_certificate_set,
)
from pipeline.formats.claim import claim_output
from pipeline.formats.output import atomic_path, write_json
from pipeline.formats.perturbation.comparison import Difference, check_same_rows, differences
from pipeline.formats.perturbation.set import PerturbationSet, open_perturbation_set
from pipeline.formats.perturbation.through import is_through
from pipeline.formats.perturbation.warnings import GRADIENT_FREE
from pipeline.plots.accuracy import figures_of
from pipeline.plots.certified import CertifiedFigures, base_title
from pipeline.plots.comparison import comparison_figure
from pipeline.plots.titles import target_title

_FIGURES = ("clean_accuracy", "robust_accuracy", "robust_accuracy_interval_95")


def main(config: CompareConfig) -> Path:
    """Compare sets.

    Returns:
        The directory of the picture and the figures.

    Raises:
        UserError: a set is missing or unfinished, they are not of the same rows and norm, or the
            output is a file or holds other results.
    """
    certified = [open_certificate_set(path) for path in config.sets if is_certificate_set(path)]
    sets = [open_perturbation_set(path) for path in config.sets if not is_certificate_set(path)]
    if sets:
        check_same_rows(sets)
    if certified:
        check_same_pictures(certified, sets)
    names = names_of(sets)
    content = [one.manifest["content_sha256"] for one in sets]
    parts: dict[str, Any] = {"job": "compare", "sets": content, "names": names}
    if certified:
        asked = config.votes if config.dataset else 0
        parts |= {"certificates": [o.manifest["content_sha256"] for o in certified], "votes": asked}
    bases = opened_bases(config, certified)
    with claim_output(
        config.output, parts, overwrite=config.overwrite, marker=RESULTS_FILE
    ) as output:
        pairs = differences(sets)
        _tell(sets, names, pairs)
        for one in certified:
            print(f"compare: {certified_line(one)}", flush=True)
        found = [
            beside(one, opened, name, base, config.votes)
            for one, base in zip(certified, bases, strict=True)
            for opened, name in zip(sets, names, strict=True)
        ]
        for line in [line for one in found for line in one.lines]:
            print(f"compare: {line}", flush=True)
        if not output.finished:
            _draw(output.directory, sets, names, certified, found)
            report = {**_report(sets, names, pairs), **certified_report(certified, found)}
            write_json(output.directory / RESULTS_FILE, report)
    print(f"compare: {output.path / PICTURE_FILE}", flush=True)
    return output.path


def _draw(
    directory: Path,
    sets: Sequence[PerturbationSet],
    names: Sequence[str],
    certified: Sequence[CertificateSet],
    found: Sequence[Beside],
) -> None:
    """Everything on one page."""
    attacked = [
        (
            ", ".join(filter(None, (name, target_title(opened.manifest)))),
            figures_of(opened.path, opened.manifest),
        )
        for name, opened in zip(names, sets, strict=True)
    ]
    asked = [one.drawn for one in found if one.drawn is not None]
    curves = [
        (base_title(one.manifest), CertifiedFigures.of(one.path, one.manifest)) for one in certified
    ]
    figure = comparison_figure(attacked, curves, asked)
    with atomic_path(directory / PICTURE_FILE) as temporary:
        figure.savefig(temporary, format="png")


def _tell(
    sets: Sequence[PerturbationSet], names: Sequence[str], pairs: Sequence[Difference]
) -> None:
    for opened, name in zip(sets, names, strict=True):
        low, high = opened.manifest["robust_accuracy_interval_95"]
        what = "by the mean answer" if is_through(opened.manifest) else "accuracy"
        print(
            f"compare: {name}: {what} {opened.manifest['clean_accuracy']:.2%} clean, "
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
    if not sets:
        return {"sets": [], "pairs": []}
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


COMMAND = Command(CompareConfig, main, summary="sets side by side: accuracy, attacked or certified")
