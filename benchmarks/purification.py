"""A purifier under attack: what the usual protocol claims, beside what the whole one finds.

    python -m benchmarks.purification --dataset DIR --stack DIR --classifier DIR [--rows 50]

The usual protocol (BPDA): gradients that pass the purifier as if it were not there, one
purification a step, and one to judge by. The whole one is `noisestack purification`'s: exact
gradients through every layer, of the mean over more and more draws; square; pictures made against
the bare classifier; each judged by fresh purifications, alone and by majority; the clean pictures
under the same rules.

Prints a line for each attack, and one JSON object last.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import Options, report
from benchmarks.denoised_smoothing import parser_of_models, quick_models, whole_numbers
from pipeline.attacks.base import Norm
from pipeline.attacks.settings import AttackSettings
from pipeline.classifier import FrozenClassifier
from pipeline.formats.dataset import images_of, labels_of, load_dataset, read_rows
from pipeline.formats.perturbation.verdict import threshold_of
from pipeline.formats.splits import TEST, TRAIN
from pipeline.perturbation.built_in import perturb_rows
from pipeline.perturbation.purification import Entry, Role, flatness, judge_fresh, worst
from pipeline.perturbation.through.purifier import LAYERS, PurifiedClassifier, load_purifying_stack
from pipeline.user_models.load import load_classifier


def main(argv: Sequence[str] | None = None) -> None:
    """Attacks, judges, and prints the table."""
    given = _options(argv)
    with tempfile.TemporaryDirectory() as place:
        if given.quick:
            models = quick_models(Path(place))
            given = argparse.Namespace(**{**vars(given), **models, **_QUICK})
        figures = _measured(given)
    report(
        "purification",
        figures,
        options=Options(given.quick, 1),
        targets={},
    )


_QUICK = {"rows": 4, "steps": 2, "draws": (1, 2), "queries": 4, "purifications": 4, "eps": 40}


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = parser_of_models(__doc__)
    parser.add_argument("--layers", type=int, default=LAYERS, help="of the chain, down and up")
    parser.add_argument("--norm", type=Norm, default=Norm.LINF)
    parser.add_argument("--eps", type=int, default=8, help="levels of 1/255")
    parser.add_argument("--rows", type=int, default=50)
    parser.add_argument("--steps", type=int, default=20, help="of the gradient attacks")
    parser.add_argument("--draws", type=whole_numbers, default=(1, 4, 16), help="the ladder")
    parser.add_argument("--queries", type=int, default=200, help="of square")
    parser.add_argument("--purifications", type=int, default=20, help="fresh ones a picture")
    return parser.parse_args(argv)


def _measured(given: argparse.Namespace) -> dict[str, Any]:
    info = load_dataset(given.dataset)
    split = TEST if TEST in info.splits else TRAIN
    table = read_rows(info, split, 0, min(given.rows, info.num_rows(split)))
    images, labels = images_of(table), labels_of(table)
    rows = np.arange(len(labels))
    bare = load_classifier(str(given.classifier), info)
    stack = load_purifying_stack(given.stack, info, "cpu")
    exact = PurifiedClassifier(bare, stack, given.layers)
    cut = PurifiedClassifier(bare, stack, given.layers, straight_through=True)
    fresh = {"purifications": given.purifications, "seed": 1}

    def attacked(model: FrozenClassifier, attack: str, steps: int, draws: int) -> np.ndarray:
        settings = AttackSettings(attack, given.norm, given.eps, steps, None, 1, 0, draws=draws)
        started = time.process_time()
        found, _, _ = perturb_rows(model, settings, images, labels, rows, threshold=threshold)
        seconds.append(round((time.process_time() - started) / len(rows), 2))
        return found

    threshold = threshold_of(bare.logits_of(images))
    seconds: list[float] = []
    entries = [Entry("clean", "clean", 0, judge_fresh(exact, images, labels, rows, **fresh))]

    def judged(name: str, role: Role, draws: int, pictures: np.ndarray) -> Entry:
        entry = Entry(name, role, draws, judge_fresh(exact, pictures, labels, rows, **fresh))
        print(json.dumps({**entry.figures(), "cpu_seconds_a_row": seconds[-1]}), flush=True)
        return entry

    by_cut = attacked(cut, "pgd", given.steps, 1)
    usual = judge_fresh(exact, by_cut, labels, rows, purifications=1, seed=2)
    claimed = Entry("bpda, one purification", "adaptive", 1, usual).figures()
    print(json.dumps(claimed), flush=True)
    ladder = [
        judged("apgd_ce, exact gradients", "adaptive", draws,
               attacked(exact, "apgd_ce", given.steps, draws))
        for draws in given.draws
    ]  # fmt: skip
    square = judged("square", "square", 2, attacked(exact, "square", given.queries, 2))
    transfer = judged("apgd_ce on the bare classifier", "transfer", 1,
                      attacked(bare, "apgd_ce", given.steps, 1))  # fmt: skip
    entries += [*ladder, square, transfer]
    curve, together = flatness(ladder[-2].fresh, ladder[-1].fresh), worst(entries)
    claim, found = (100 * figures["one_purification_accuracy"] for figures in (claimed, together))
    return {
        "rows": len(rows),
        "eps_levels": given.eps,
        "norm": given.norm.value,
        "purifier_layers": given.layers,
        "purifier_sigma": round(exact.origin["purifier_sigma"], 4),
        "clean": entries[0].figures(),
        "claimed_by_bpda": claimed,
        "ladder": [entry.figures() for entry in ladder],
        "curve": curve,
        "square": square.figures(),
        "transfer": transfer.figures(),
        "all_attacks": together if curve["flat"] else None,
        "gap_points": round(claim - found, 1),
        "cpu_seconds_a_row": seconds,
    }


if __name__ == "__main__":
    main()
