"""Certified accuracy and its price: a classifier, one trained on noise, and a stack in two parts.

    python -m benchmarks.denoised_smoothing --dataset DIR --stack DIR --classifier DIR \
        [--gaussian SIGMA=DIR ...] [--sigmas 0.25,0.5] [--rows 500] [--stack-rows 100]

Each is smoothed alike, with the same noise, and certified at the asked radii by the adaptive rule:

- ``classifier``: one that never met noise, as it stands;
- ``gaussian``: one that was trained on noise of that sigma;
- ``denoised``: the first behind the stack, which denoises in one pass and sees no label;
- ``stack``: the stack as its own classifier, with no other.

Prints a line for each, and one JSON object last.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.classifiers import quick_folders
from benchmarks.common import Options, report
from pipeline.chain.schedule import Stage
from pipeline.conditions import ConditionSpec
from pipeline.conditions.base import ConditionEmbedding
from pipeline.formats.dataset import (
    DatasetInfo,
    images_of,
    labels_of,
    load_dataset,
    read_rows,
)
from pipeline.formats.splits import TEST, TRAIN
from pipeline.intervals import clopper_pearson
from pipeline.smoothing.base import SmoothingBase
from pipeline.smoothing.bases import BASES
from pipeline.smoothing.bases.entry import BaseOptions
from pipeline.smoothing.bases.stack import OfStack
from pipeline.smoothing.certifier import certify_rows
from pipeline.smoothing.noise import row_keys_of
from pipeline.smoothing.settings import CertifySettings
from pipeline.stack import Stack, save_stack
from pipeline.stack_spec import StackSpec

RADII = (0.25, 0.5, 0.75, 1.0, 1.5)


def main(argv: Sequence[str] | None = None) -> None:
    """Measures all that it was given, and prints the figures."""
    given = _options(argv)
    with tempfile.TemporaryDirectory() as place:
        if given.quick:
            folders = quick_models(Path(place))
            given = argparse.Namespace(**{**vars(given), **folders, **_QUICK})
        info = load_dataset(given.dataset)
        figures: dict[str, Any] = {}
        for sigma in given.sigmas:
            found = {
                name: certified(base, info, given, sigma, rows)
                for name, base, rows in _bases(given, info, sigma)
            }
            figures |= {f"sigma_{sigma}_{name}": value for name, value in found.items()}
            figures |= _gaps(sigma, found)
    report(
        "denoised_smoothing",
        figures,
        options=Options(given.quick, 1),
        targets={name: 0.0 for name in figures if name.startswith("points_")},
    )


def parser_of_models(description: str | None) -> argparse.ArgumentParser:
    """What a benchmark takes of a dataset, a stack and a classifier; its first line is the help."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0] if description else "")
    runs = Path("runs/fashion_mnist")
    parser.add_argument("--dataset", type=Path, default=runs / "dataset")
    parser.add_argument("--stack", type=Path, default=runs / "stack" / "model")
    parser.add_argument("--classifier", type=Path, default=runs / "classifier" / "model")
    parser.add_argument("--quick", action="store_true", help="see that it works, measure nothing")
    parser.add_argument("--repeats", type=int, help="not heeded: nothing is timed side by side")
    return parser


def whole_numbers(text: str) -> tuple[int, ...]:
    """Whole numbers with commas between them."""
    return tuple(int(part) for part in text.split(","))


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = parser_of_models(__doc__)
    parser.add_argument("--gaussian", action="append", default=[], metavar="SIGMA=DIR")
    parser.add_argument("--sigmas", type=_numbers, default=(0.25, 0.5))
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--stack-rows", type=int, default=100, help="fewer: it is dear")
    parser.add_argument("--start", type=int, default=0, help="the split's first row")
    parser.add_argument("--split", default=TEST)
    parser.add_argument("--draws", type=int, default=10_000, help="at most, of a row")
    parser.add_argument("--reach", type=float, default=3.0, help="of sigma: largest radius asked")
    parser.add_argument("--n0", type=int, default=100)
    parser.add_argument("--looks", type=whole_numbers, default=None)
    parser.add_argument("--leave", type=float, default=None)
    parser.add_argument("--only", default="", help="names of bases, with commas; none for all")
    return parser.parse_args(argv)


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


def _bases(
    given: argparse.Namespace, info: DatasetInfo, sigma: float
) -> list[tuple[str, SmoothingBase, int]]:
    """What is smoothed, with its name and its number of rows."""
    plain = BaseOptions(info, classifier=str(given.classifier), stack=given.stack)
    on_noise = dict(text.split("=", 1) for text in given.gaussian)
    wanted = set(given.only.split(",")) if given.only else {"classifier", "gaussian", *BASES}
    options = {
        "classifier": ("classifier", plain, given.rows),
        "gaussian": ("classifier", replace(plain, classifier=on_noise.get(f"{sigma}")), given.rows),
        "denoised": ("denoised", plain, given.rows),
        "stack": (
            "stack",
            replace(plain, classifier=None, looks=given.looks, leave=given.leave),
            given.stack_rows,
        ),
    }
    return [
        (name, BASES[kind].open(option, sigma, "cpu"), rows)
        for name, (kind, option, rows) in options.items()
        if name in wanted and (name == "stack" or option.classifier is not None)
    ]


def certified(
    base: SmoothingBase, info: DatasetInfo, given: argparse.Namespace, sigma: float, rows: int
) -> dict[str, Any]:
    """Certified accuracy at the radii that can be asked about, in percent, and what it took."""
    split = given.split if given.split in info.splits else TRAIN
    stop = min(given.start + rows, info.num_rows(split))
    table = read_rows(info, split, given.start, stop)
    images, labels = images_of(table), labels_of(table)
    settings = CertifySettings(
        sigma=sigma,
        n0=given.n0,
        n=given.draws,
        rule="radii",
        radii=tuple(radius for radius in RADII if radius <= given.reach * sigma),
    )
    wall, cpu = time.perf_counter(), time.process_time()
    found = certify_rows(base, images, row_keys_of(table.column("id").to_pylist()), settings)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    right = (found.predicted == labels) & ~found.abstained
    figures: dict[str, Any] = {"rows": len(labels)}
    for radius in (0.0, *settings.radii):
        num = int((right & (found.radius >= radius)).sum())
        low, high = clopper_pearson(num, len(labels))
        figures[f"certified_{radius:g}_percent"] = round(100 * num / len(labels), 1)
        figures[f"certified_{radius:g}_interval_95"] = [round(100 * low, 1), round(100 * high, 1)]
    figures |= {
        "abstained": int(found.abstained.sum()),
        "draws_a_row": round(float(found.draws.mean()), 1),
        "cpu_seconds_a_row": round(cpu / len(labels), 4),
        "cpu_ms_a_draw": round(1000 * cpu / int(found.draws.sum()), 4),
        "wall_seconds": round(wall, 1),
    }
    if isinstance(base, OfStack):
        passes = base.classify.passes
        figures["passes_a_draw"] = {
            f"{side}px": round(num / passes.answered, 2) for side, num in passes.by_side.items()
        }
    print(json.dumps({**base.record(), "sigma": sigma, **figures}), flush=True)
    return figures


def _gaps(sigma: float, found: dict[str, dict[str, Any]]) -> dict[str, float]:
    """By how many points the stack's ways lie above what they are measured against."""
    gaps = {}
    for ours, theirs in (("denoised", "classifier"), ("denoised", "gaussian"),
                         ("stack", "gaussian")):  # fmt: skip
        if ours in found and theirs in found:
            for name, value in found[ours].items():
                if name.startswith("certified_") and name.endswith("_percent"):
                    radius = name.split("_")[1]
                    key = f"points_sigma_{sigma}_{ours}_above_{theirs}_at_{radius}"
                    gaps[key] = round(value - found[theirs][name], 1)
    return gaps


def quick_models(place: Path) -> dict[str, Any]:
    """A dataset of the digits, a classifier trained for a moment and a stack not at all."""
    made = quick_folders(place)
    spec = StackSpec(
        shape=(8, 8, 1),
        classes=tuple(str(number) for number in range(10)),
        condition=ConditionSpec("label", 10),
        stages=(Stage(4, 40.0, 2.0), Stage(8, 2.0, 0.02)),
        sigma_data=(1.3, 0.7),
        tau2=(((0.2,), (0.1,), (0.05,)),),
        network="nested",
        widths=(16, 8),
        blocks=(1, 1),
        embedding=16,
        dropout=0.0,
        rows_per_call=64,
        layers=(2, 3),
    )
    stack = Stack.fresh(spec, 0)
    with torch.no_grad():
        for part in stack.modules():
            if isinstance(part, ConditionEmbedding):
                part.null.fill_(0.1)  # as if conditions had been dropped
    save_stack(stack, {}, place / "stack", {})
    return {
        "dataset": made["dataset"],
        "classifier": made["natural"],
        "gaussian": [f"0.25={made['trained']}"],
        "stack": place / "stack",
    }


_QUICK = {"sigmas": (0.25,), "rows": 6, "stack_rows": 2, "draws": 200, "n0": 20, "reach": 1.0}


if __name__ == "__main__":
    main()
