"""What do perturbations cost beside the libraries', at equal robust accuracy?

500 test pictures of Fashion-MNIST, L∞ 25 levels of 1/255, a classifier trained as usual and one
that was trained to withstand; one process, one thread, CPU time. All sides have the same network.

pgd: 40 steps of a tenth of the radius from a random point. At that length ours and the libraries'
leave the fewest pictures standing; steps of 2.5 / 40 of it leave more on every side. All sides ask
about so many pictures at a time as the classifier says. ours stops a row that is broken.
targeted: the same towards the class after each label; a picture stands until that is the answer.
standard: AutoAttack's four attacks, each on all that stands, beside its own code's. fast: ours that
stops where little is gained. job: what a worker of `perturb` spends on a shard of 500 pictures
beyond the engine's time for them; Ray's own processes are told apart.

Robust accuracies are of all the pictures, the libraries' of the pictures in floating point that
they return, and beside it of these rounded to 8 bits. Ensembles are measured only so often as
ENSEMBLE_REPEATS says: on the trained model one run of AutoAttack's own code takes many minutes.
"""

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from benchmarks.attackers import (
    PeersPgd,
    Task,
    with_adv_lib,
    with_foolbox,
    with_pyautoattack,
    with_torchattacks,
)
from benchmarks.classifiers import FOLDERS, QUICK_ROWS, ROWS, Subject, subjects
from benchmarks.common import Options, Stopwatch, alternate, median, read_options, report
from benchmarks.datasets import CLASSES
from jobs import perturb
from jobs.perturb.config import PerturbConfig
from pipeline.allocator import keep_freed_memory
from pipeline.attacks.base import Model, Norm
from pipeline.attacks.engine.ensemble import Ensemble, attack_in_turn
from pipeline.attacks.engine.loop import Attacked, attack_rows
from pipeline.attacks.engine.towards import attack_towards
from pipeline.attacks.geometry.ball import Ball
from pipeline.attacks.methods.autoattack import fast, standard
from pipeline.attacks.methods.pgd import Pgd
from pipeline.perturbation.perturber import Perturber

STEPS, STEP_SHARE = 40, 0.1  # of PGD, and the part of the radius that each goes
ENSEMBLE_REPEATS = {"natural": 3, "trained": 1}
PEERS: dict[str, PeersPgd] = {
    "torchattacks": with_torchattacks.pgd,
    "foolbox": with_foolbox.pgd,
    "adv_lib": with_adv_lib.pgd,
}
TARGETS = {
    "ratio_pgd_natural": 5.0,
    "ratio_pgd_trained": 1.5,
    "ratio_targeted_natural": 5.0,
    "ratio_autoattack_natural": 3.0,
    "ratio_autoattack_trained": 1.3,
    "ratio_fast_natural": 4.0,
    "ratio_fast_trained": 4.0,
}
_POINTS = 0.2  # of robust accuracy, in which sides may differ
LIMITS = {
    "ratio_job_overhead": 1.05,
    **{f"points_apart_{kind}_{name}": _POINTS for name in ("natural", "trained")
       for kind in ("pgd", "targeted", "fast")},
    **{f"weaker_verdicts_{name}": 0 for name in ("natural", "trained")},
}  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """One run of one side.

    Attributes:
        seconds: of CPU.
        standing: bool ``[N]``, the pictures still answered rightly; with targets, those not yet
            answered as theirs.
        rounded: the same after rounding to 8 bits.
    """

    seconds: float
    standing: Tensor
    rounded: Tensor


def of_peer(subject: Subject, task: Task, attack: Callable[[Task], Tensor]) -> Outcome:
    """Runs a library, and looks at what it returns after its clock has stopped."""
    start = time.process_time()
    found = attack(task)
    seconds = time.process_time() - start
    rounded = (found * 255).round() / 255
    left = [subject.right(pictures, task.goal) for pictures in (found, rounded)]
    if task.targets is not None:
        left = [~answered for answered in left]
    return Outcome(seconds, *left)


def of_ours(task: Task, attack: Callable[[Task], Attacked]) -> Outcome:
    """Runs ours, whose pictures are 8-bit ones."""
    start = time.process_time()
    found = attack(task)
    seconds = time.process_time() - start
    standing = found.clean_right & ~found.broken
    return Outcome(seconds, standing, standing)


def our_pgd(subject: Subject, task: Task) -> Attacked:
    """The engine with PGD."""
    ball = Ball(Norm.LINF, task.levels)
    pgd = Pgd(ball, STEPS, STEP_SHARE * task.eps)
    rows = torch.arange(len(task.y))
    model = subject.classifier
    how: dict[str, Any] = {"seed": task.seed, "rows_per_call": model.rows_per_call}
    if task.targets is None:
        return attack_rows(pgd, model, task.x, task.y, rows, **how)

    def run(
        model: Model, x: Tensor, y: Tensor, rows: Tensor, logits: Tensor, targets: Tensor
    ) -> Attacked:
        return attack_rows(pgd, model, x, y, rows, logits=logits, targets=targets, **how)

    calls = how["rows_per_call"]
    return attack_towards(run, model, task.x, task.y, rows, task.targets, calls)


def our_ensemble(subject: Subject, task: Task, ensemble: Ensemble) -> Attacked:
    """The engine with several attacks in turn, and the audit widened where the job would."""
    rows = torch.arange(len(task.y))
    model = subject.classifier
    return attack_in_turn(
        ensemble, model, task.x, task.y, rows, widen=True, rows_per_call=model.rows_per_call
    )


def pgd_sides(subject: Subject, task: Task, repeats: int) -> dict[str, list[Outcome]]:
    """PGD by ours and by each library, in turn; every round draws anew."""
    seeds = {side: count() for side in ("ours", *PEERS)}

    def ours() -> Outcome:
        drawn = replace(task, seed=next(seeds["ours"]))
        return of_ours(drawn, partial(our_pgd, subject))

    def peers(name: str) -> Outcome:
        drawn = replace(task, seed=next(seeds[name]))
        attack = partial(PEERS[name], steps=STEPS, step_size=STEP_SHARE * task.eps)
        return of_peer(subject, drawn, attack)

    sides: dict[str, Callable[[], Outcome]] = {"ours": ours}
    sides |= {name: partial(peers, name) for name in PEERS}
    return alternate(sides, repeats)


def ensemble_sides(subject: Subject, task: Task, repeats: int) -> dict[str, list[Outcome]]:
    """AutoAttack by its own code, and ours, in turn."""
    ball = Ball(Norm.LINF, task.levels)
    return alternate(
        {
            "standard": lambda: of_ours(task, lambda t: our_ensemble(subject, t, standard(ball))),
            "fast": lambda: of_ours(task, lambda t: our_ensemble(subject, t, fast(ball))),
            "pyautoattack": lambda: of_peer(subject, task, with_pyautoattack.standard),
        },
        repeats,
    )


def right_rows(subject: Subject, task: Task) -> Task:
    """The pictures that are classified rightly, each with the class after its label as its target.

    Ours attacks no others, and a library's change of a picture that was wrong is no success.
    """
    at = subject.right(task.x, task.y)
    y = task.y[at]
    return replace(task, x=task.x[at], y=y, targets=(y + 1) % CLASSES)


def targeted_figures(name: str, sides: Mapping[str, Sequence[Outcome]]) -> dict[str, Any]:
    """What `pgd_figures` gives, of targeted PGD: at equal success, which `points_apart` holds."""
    told = pgd_figures(name, sides)
    return {key.replace("pgd", "targeted"): value for key, value in told.items()}


def pgd_figures(name: str, sides: Mapping[str, Sequence[Outcome]]) -> dict[str, Any]:
    """Medians, the ratio of the fastest library to ours, and how far apart the accuracies are."""
    seconds = {side: median([run.seconds for run in runs]) for side, runs in sides.items()}
    best = min(PEERS, key=lambda peer: seconds[peer])
    return {
        f"ratio_pgd_{name}": seconds[best] / seconds["ours"],
        f"best_pgd_{name}": best,
        f"points_apart_pgd_{name}": _excess(sides["ours"], sides[best]),
        **_accounts(f"pgd_{name}", sides),
    }


def ensemble_figures(name: str, sides: Mapping[str, Sequence[Outcome]]) -> dict[str, Any]:
    """The same for AutoAttack, and the pictures that it broke and ours did not."""
    seconds = {side: median([run.seconds for run in runs]) for side, runs in sides.items()}
    ours, peer = sides["standard"][0], sides["pyautoattack"][0]
    return {
        f"ratio_autoattack_{name}": seconds["pyautoattack"] / seconds["standard"],
        f"ratio_fast_{name}": seconds["pyautoattack"] / seconds["fast"],
        f"weaker_verdicts_{name}": int((ours.standing & ~peer.standing).sum()),
        f"points_apart_fast_{name}": _excess(sides["fast"], sides["pyautoattack"]),
        **_accounts(f"autoattack_{name}", sides),
    }


def _excess(ours: Sequence[Outcome], peer: Sequence[Outcome]) -> float:
    """By how many points of robust accuracy ours is weaker, a mean over the rounds; 0 if it is not.

    One round's draws move it by half a point.
    """
    return max(0.0, _standing(ours, "standing") - _standing(peer, "standing"))


def _standing(runs: Sequence[Outcome], kind: str) -> float:
    shares = [float(getattr(run, kind).double().mean()) for run in runs]
    return 100 * sum(shares) / len(shares)


def _accounts(what: str, sides: Mapping[str, Sequence[Outcome]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for side, runs in sides.items():
        found[f"{side}_{what}_cpu_seconds"] = round(median([run.seconds for run in runs]), 3)
        for kind in ("standing", "rounded"):
            found[f"{side}_{what}_{kind}_percent"] = round(_standing(runs, kind), 2)
    return found


class TimedPerturber(Perturber):
    """The job's worker, and a line about each call beside the set: its first row, and CPU time."""

    def __call__(self, shard: dict[str, Any]) -> dict[str, Any]:
        start = time.process_time()
        record = super().__call__(shard)
        line = {"start": int(shard["start"]), "seconds": time.process_time() - start}
        with open(_calls_of(self._place.output), "a") as stream:
            stream.write(json.dumps(line) + "\n")
        return record


def _calls_of(output: Path) -> Path:
    return output.parent / f"{output.name}.calls.jsonl"


def job_figures(subject: Subject, rows: int, repeats: int, place: Path) -> dict[str, Any]:
    """A worker's CPU time for a shard over the engine's for the same rows.

    The shard is the second of two: the first pays for the start-up.
    """
    calls, engine = [], []
    tree = 0.0
    for repeat in range(repeats):
        output = place / f"job-{repeat}"
        watch = Stopwatch()
        with patch.object(perturb, "Perturber", TimedPerturber):
            perturb.main(
                PerturbConfig(
                    dataset=subject.dataset,
                    classifier=str(subject.folder),
                    output=output,
                    split=subject.split,
                    limit=2 * rows,
                    eps=subject.levels / 255,
                    steps=STEPS,
                    step_size=STEP_SHARE * subject.levels / 255,
                    rows_per_shard=rows,
                    num_workers=1,
                )
            )
        tree = watch.spent().cpu_seconds
        lines = [json.loads(line) for line in _calls_of(output).read_text().splitlines()]
        calls += [line["seconds"] for line in lines if line["start"] == rows]
        task = subject.task(rows, 2 * rows)
        engine.append(of_ours(task, lambda task: our_pgd(subject, task)).seconds)
    return {
        "ratio_job_overhead": median(calls) / median(engine),
        "job_shard_cpu_seconds": median(calls),
        "engine_shard_cpu_seconds": median(engine),
        "job_process_tree_cpu_seconds": tree,
    }


def measure(name: str, subject: Subject, options: Options) -> dict[str, Any]:
    """All sides on one classifier."""
    rows = QUICK_ROWS if options.quick else ROWS
    task = subject.task(0, rows)
    warm = subject.task(0, min(rows, 70))  # a full call and a smaller one: what they prepare
    our_pgd(subject, warm)
    found = pgd_figures(name, pgd_sides(subject, task, options.repeats))
    aimed = right_rows(subject, task)
    found |= targeted_figures(name, pgd_sides(subject, aimed, options.repeats))
    print(json.dumps(found), flush=True)
    repeats = 1 if options.quick else ENSEMBLE_REPEATS[name]
    found |= ensemble_figures(name, ensemble_sides(subject, task, repeats))
    print(json.dumps(found), flush=True)
    return found


def main() -> None:
    """Measures all sides on both classifiers and prints the figures as one line, the last."""
    options = read_options(__doc__, folders=FOLDERS)
    keep_freed_memory()  # as the job's workers do; every side has it
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="attack-speed-") as directory:
        place = Path(directory)
        both = subjects(options, place)
        for name, subject in both.items():
            figures |= measure(name, subject, options)
        rows = QUICK_ROWS if options.quick else ROWS
        figures |= job_figures(both["trained"], rows, 1 if options.quick else 3, place)
    report("attack_speed", figures, options=options, targets=TARGETS, limits=LIMITS)


if __name__ == "__main__":
    main()
