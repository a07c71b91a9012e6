"""What does a certificate cost beside the procedure that the field's scripts follow?

Test pictures of Fashion-MNIST, a small classifier trained under noise of sigma 0.25, one process,
one thread, CPU time. Theirs is written anew from its paper (Cohen, Rosenfeld and Kolter, 2019, as
locuslab/smoothing has it): n0 = 100 draws choose the class, n = 100,000 more bound its share by
Clopper and Pearson at alpha 0.001, every row, in calls of the size that is fastest for it. Ours
asks which radii hold, by the same base, n0, alpha and at most the same n, and stops a row when it
knows.

near: half of sigma and sigma. far: three sigma. A row costs theirs the same whatever it shows, so
theirs is asked about a part of the rows, and differing verdicts on these are listed, with each
side's radius. bare: forward passes over noisy pictures that are there already, in the best of
several sizes of calls, beside ours with a fixed number of draws.

`--rows` and `--their-rows` say how many; with as many of both all verdicts are compared, which
takes theirs 8 CPU-seconds a row.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import beta, norm
from torch import Tensor

from benchmarks.classifiers import MODELS, ingested_fashion_mnist, made_by_job, subjects
from benchmarks.common import Options, alternate, median, read_options, report
from pipeline.allocator import keep_freed_memory
from pipeline.classifier import Classifier
from pipeline.formats.dataset import images_of, load_dataset, read_rows
from pipeline.formats.splits import TEST, TRAIN
from pipeline.pictures import to_unit
from pipeline.smoothing.base import OfClassifier
from pipeline.smoothing.certifier import CertificateRows, certify_rows
from pipeline.smoothing.noise import NOISES, NoiseName
from pipeline.smoothing.settings import CertifySettings

SIGMA, N0, ALPHA = 0.25, 100, 0.001
NEAR, FAR = (SIGMA / 2, SIGMA), (3 * SIGMA,)
FOLDERS = {
    "dataset": "Fashion-MNIST as `ingest` writes it",
    "classifier": "one trained under noise of sigma 0.25",
}
CALLS = (64, 128, 256, 512, 1024)  # sizes tried for bare passes and for theirs
TARGETS = {
    "ratio_draws_near": 20.0,
    "ratio_draws_far": 5.0,
    "ratio_locuslab": 20.0,
    "ratio_bare": 0.95,
}


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        rows, their_rows: test pictures, the first ones, of ours and of theirs.
        n: the most draws for the bound.
        bare: draws in each measurement of bare passes.
    """

    rows: int
    their_rows: int
    n: int
    bare: int


SIZES = Sizes(rows=200, their_rows=10, n=100_000, bare=40_000)
QUICK = Sizes(rows=12, their_rows=2, n=8_000, bare=1_000)


def theirs(classifier: Classifier, x: Tensor, n: int, batch: int) -> tuple[int, float]:
    """One row's class and radius by the published procedure, -1 and 0 where it abstains.

    Args:
        x: float32 ``[1, C, H, W]``.
    """

    def counts(num: int) -> np.ndarray:
        found = np.zeros(len(classifier.classes), np.int64)
        while num > 0:
            size = min(batch, num)
            num -= size
            repeated = x.repeat((size, 1, 1, 1))
            answers = classifier(repeated + torch.randn_like(repeated) * SIGMA).argmax(dim=1)
            found += np.bincount(answers.numpy(), minlength=len(found))
        return found

    with torch.no_grad():
        top = int(counts(N0).argmax())
        votes = int(counts(n)[top])
    bound = float(beta.ppf(ALPHA, votes, n - votes + 1)) if votes else 0.0
    return (-1, 0.0) if bound < 0.5 else (top, SIGMA * float(norm.ppf(bound)))


def ours(
    classifier: Classifier, images: np.ndarray, rows: np.ndarray, n: int, radii: Sequence[float]
) -> CertificateRows:
    """Rows of these numbers, until it is known of each radius whether it holds."""
    settings = CertifySettings(SIGMA, N0, n, ALPHA, "radii", tuple(radii))
    return certify_rows(OfClassifier(classifier), images, rows, settings)


def cpu(function: Callable[[], Any]) -> tuple[float, Any]:
    """CPU-seconds of this process, and what the function returns."""
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


def bare_passes(classifier: Classifier, x: Tensor, draws: int, size: int) -> float:
    """Draws a CPU-second of forward passes in calls of ``size``, argmax included."""
    with torch.inference_mode():
        calls = max(1, draws // size)
        batch = x[:1].repeat(size, 1, 1, 1) + SIGMA * torch.randn(size, *x.shape[1:])
        seconds, _ = cpu(lambda: [classifier(batch).argmax(dim=1) for _ in range(calls)])
    return calls * size / seconds


def our_passes(classifier: Classifier, images: np.ndarray, draws: int, noise: NoiseName) -> float:
    """Draws a CPU-second of certificates with a fixed number of draws."""
    settings = CertifySettings(SIGMA, N0, max(N0, draws // len(images)), ALPHA, noise=noise)
    keys = np.arange(len(images))
    seconds, rows = cpu(lambda: certify_rows(OfClassifier(classifier), images, keys, settings))
    return float(rows.draws.sum()) / seconds


def speeds(classifier: Classifier, images: np.ndarray, draws: int, repeats: int) -> dict[str, Any]:
    """Of bare passes in their best size of call, and of ours with either noise.

    The size is chosen first and measured again beside ours: the best of several figures that
    stray is above its own mean.
    """
    x = to_unit(images[:1])
    tried = alternate(
        {str(size): partial(bare_passes, classifier, x, draws // 4, size) for size in CALLS}, 3
    )
    best = max(CALLS, key=lambda size: median(tried[str(size)]))
    sides: dict[str, Callable[[], float]] = {
        "bare": partial(bare_passes, classifier, x, draws, best)
    }
    for noise in NOISES:
        sides[noise] = partial(our_passes, classifier, images[:1], draws, noise)
    found = {name: median(values) for name, values in alternate(sides, repeats).items()}
    return {
        "bare_draws_a_second": found["bare"],
        "bare_rows_a_call": best,
        "draws_a_second": found["gaussian"],
        "ratio_bare": found["gaussian"] / found["bare"],
        "ratio_bare_lattice": found["lattice"] / found["bare"],
    }


def differences(
    rows: CertificateRows, peers: Sequence[tuple[int, float]], radii: Sequence[float]
) -> list[dict[str, Any]]:
    """Rows of which one side certifies a radius that the other does not, or of another class."""
    found = []
    for row, (top, reach) in enumerate(peers):
        for r in radii:
            one, other = rows.radius[row] >= r, reach >= r
            if one != other or (one and rows.predicted[row] != top):
                found.append(
                    {"row": row, "radius": r, "ours": float(rows.radius[row]), "theirs": reach}
                )
    return found


def question(
    name: str, rows: CertificateRows, n: int, peers: Sequence[tuple[int, float]], radii: Any
) -> dict[str, Any]:
    """The figures of one question."""
    found: dict[str, Any] = {
        f"draws_a_row_{name}": float(rows.draws.mean()),
        f"draws_a_row_{name}_median": median(rows.draws.tolist()),
        f"ratio_draws_{name}": (N0 + n) / float(rows.draws.mean()),
        f"differences_{name}": differences(rows, peers, radii),
    }
    for r in radii:
        label = f"{name}_{r:g}".replace(".", "")
        found[f"certified_percent_{label}"] = 100 * float(np.mean(rows.radius >= r))
        both = rows.radius[: len(peers)] >= r
        found[f"certified_percent_{label}_on_their_rows"] = 100 * float(np.mean(both))
        found[f"their_certified_percent_{label}"] = 100 * float(
            np.mean([reach >= r for _, reach in peers])
        )
    return found


def measured(
    classifier: Classifier, images: np.ndarray, sizes: Sizes, repeats: int
) -> dict[str, Any]:
    """All figures; the sides take turns, each time with other rows."""
    x = to_unit(images[: sizes.their_rows])
    batch = fastest_batch(classifier, x[:1])
    parts = [part for part in np.array_split(np.arange(sizes.rows), repeats) if len(part)]
    their_parts = np.array_split(np.arange(sizes.their_rows), repeats)
    left = {"near": iter(parts), "far": iter(parts), "theirs": iter(their_parts)}
    found: dict[str, list[Any]] = {name: [] for name in left}

    def our_part(name: str, radii: Sequence[float]) -> float:
        part = next(left[name])
        seconds, rows = cpu(lambda: ours(classifier, images[part], part, sizes.n, radii))
        found[name].append(rows)
        return seconds

    def their_part() -> float:
        part = next(left["theirs"])
        seconds, rows = cpu(lambda: [theirs(classifier, x[[i]], sizes.n, batch) for i in part])
        found["theirs"] += rows
        return seconds

    sides: dict[str, Callable[[], float]] = {
        "near": partial(our_part, "near", NEAR),
        "theirs": their_part,
        "far": partial(our_part, "far", FAR),
    }
    seconds = {name: sum(times) for name, times in alternate(sides, len(parts)).items()}
    a_row = {name: seconds[name] / sizes.rows for name in ("near", "far")}
    a_row["theirs"] = seconds["theirs"] / sizes.their_rows
    return {
        "rows": sizes.rows,
        "their_rows": sizes.their_rows,
        "their_rows_a_call": batch,
        **{f"cpu_seconds_a_row_{name}": value for name, value in a_row.items()},
        "ratio_locuslab": a_row["theirs"] / a_row["near"],
        "ratio_locuslab_far": a_row["theirs"] / a_row["far"],
        **question("near", joined(found["near"]), sizes.n, found["theirs"], NEAR),
        **question("far", joined(found["far"]), sizes.n, found["theirs"], FAR),
        **speeds(classifier, images, sizes.bare, repeats),
    }


def joined(parts: Sequence[CertificateRows]) -> CertificateRows:
    """The rows of several calls as one."""
    names = [field.name for field in fields(CertificateRows)]
    return CertificateRows(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    )


def fastest_batch(classifier: Classifier, x: Tensor) -> int:
    """Of the sizes that the published scripts are called with, the one that costs theirs less."""
    sizes = (400, 1000)
    asked = {str(size): partial(cpu, partial(theirs, classifier, x, 2000, size)) for size in sizes}
    times = alternate(asked, 3)
    return min(sizes, key=lambda size: median([seconds for seconds, _ in times[str(size)]]))


def subject(options: Options, place: Path) -> tuple[Classifier, np.ndarray]:
    """The classifier, and the pictures of a split."""
    split = TEST
    if options.quick:
        one = subjects(options, place)["natural"]
        dataset, folder, split = one.dataset, one.folder, TRAIN
    else:
        dataset = options.folders.get("dataset") or ingested_fashion_mnist()
        folder = (
            options.folders.get("classifier")
            or made_by_job(
                "train-classifier",
                "classifier_fashion_mnist_gaussian",
                MODELS / "gaussian_025",
                ["--dataset", str(dataset)],
            )
            / "model"
        )
    info = load_dataset(dataset)
    rows = read_rows(info, split, 0, min(info.num_rows(split), 10_000))
    return Classifier.load(folder), images_of(rows)


def main(argv: Sequence[str] | None = None) -> None:
    """Measures, and prints the figures as one line, the last."""
    numbers = {"rows": "test pictures of ours", "their-rows": "test pictures of theirs"}
    options = read_options(__doc__, argv, folders=FOLDERS, numbers=numbers)
    keep_freed_memory()  # as the job's workers do; both sides have it
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        classifier, images = subject(options, Path(place))
    given = options.numbers
    sizes = QUICK if options.quick else SIZES
    sizes = replace(
        sizes,
        rows=given.get("rows", sizes.rows),
        their_rows=given.get("their-rows", sizes.their_rows),
    )
    figures = measured(classifier, images[: sizes.rows], sizes, options.repeats)
    report("certify_cost", figures, options=options, targets=TARGETS)


if __name__ == "__main__":
    main()
