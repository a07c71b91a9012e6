"""Are ours as strong as the libraries', and are the smallest changes as small?

1,000 test pictures of Fashion-MNIST and the two classifiers of `attack_speed`. pgd, autoattack: how
many pictures a library breaks, in L∞ 25 levels, that ours leaves standing, less those of the
opposite kind (`points_behind_*`, of all pictures). The libraries are judged by the pictures in
floating point that they return.

smallest: medians of the L2 norm over the pictures that both sides broke, ours of 8-bit pictures,
adv-lib's of those in floating point, with as many steps; `ratio_*` are ours over adv-lib's.
Half an hour for each classifier, on one core.
"""

import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.attack_speed import (
    PEERS,
    STEP_SHARE,
    STEPS,
    of_ours,
    of_peer,
    our_ensemble,
    our_pgd,
)
from benchmarks.attackers import Task, with_adv_lib, with_pyautoattack
from benchmarks.classifiers import FOLDERS, QUICK_ROWS, Subject, subjects
from benchmarks.common import Options, read_options, report
from pipeline.attacks.base import Norm, StepAttack
from pipeline.attacks.engine.loop import attack_rows
from pipeline.attacks.geometry.ball import Ball
from pipeline.attacks.methods.autoattack import standard
from pipeline.attacks.methods.carlini_wagner import CarliniWagner
from pipeline.attacks.methods.ddn import Ddn
from pipeline.attacks.methods.deepfool import DeepFool
from pipeline.attacks.methods.fmn import Fmn

ROWS = 1000
SMALLEST: dict[str, Callable[[int], StepAttack]] = {
    "ddn": Ddn,
    "fmn": lambda steps: Fmn(Norm.L2, steps),
    "carlini_wagner": CarliniWagner,
    "deepfool": lambda steps: DeepFool(Norm.L2, steps),
}
SMALLEST_STEPS = {"ddn": 100, "fmn": 100, "carlini_wagner": 100, "deepfool": 50}
_POINTS, _LONGER = 0.2, 1.02
BOTH = ("natural", "trained")
LIMITS = {
    **{f"points_behind_{kind}_{name}": _POINTS for kind in ("pgd", "autoattack") for name in BOTH},
    **{f"ratio_{kind}_{name}": _LONGER for kind in SMALLEST for name in BOTH},
}


def behind(ours: Tensor, peer: Tensor) -> float:
    """By how many points a peer leaves fewer pictures standing; negative where it leaves more.

    Both are bool ``[N]``.
    """
    return 100 * float(ours.double().mean() - peer.double().mean())


def bounded(name: str, subject: Subject, task: Task) -> dict[str, Any]:
    """PGD beside each library's, and the standard ensemble beside AutoAttack's own code."""
    ours = of_ours(task, lambda task: our_pgd(subject, task)).standing
    found: dict[str, Any] = {}
    worst = -100.0
    for peer, pgd in PEERS.items():
        attack = partial(pgd, steps=STEPS, step_size=STEP_SHARE * task.eps)
        theirs = of_peer(subject, task, attack).standing
        found[f"{peer}_pgd_{name}_percent"] = 100 * float(theirs.double().mean())
        worst = max(worst, behind(ours, theirs))
    found[f"ours_pgd_{name}_percent"] = 100 * float(ours.double().mean())
    found[f"points_behind_pgd_{name}"] = worst
    print(json.dumps(found), flush=True)
    ball = Ball(Norm.LINF, task.levels)
    ours = of_ours(task, lambda task: our_ensemble(subject, task, standard(ball))).standing
    theirs = of_peer(subject, task, with_pyautoattack.standard).standing
    return {
        **found,
        f"ours_autoattack_{name}_percent": 100 * float(ours.double().mean()),
        f"pyautoattack_{name}_percent": 100 * float(theirs.double().mean()),
        f"points_behind_autoattack_{name}": behind(ours, theirs),
        f"broken_by_pyautoattack_alone_{name}": int((ours & ~theirs).sum()),
        f"broken_by_ours_alone_{name}": int((theirs & ~ours).sum()),
    }


def smallest(name: str, subject: Subject, task: Task) -> dict[str, Any]:
    """The median lengths beside adv-lib's."""
    right = subject.right(task.x, task.y)
    found: dict[str, Any] = {}
    for kind, build in SMALLEST.items():
        steps = SMALLEST_STEPS[kind]
        rows = torch.arange(len(task.y))
        ours = attack_rows(build(steps), subject.classifier, task.x, task.y, rows)
        theirs = with_adv_lib.smallest_l2(task, kind, steps)
        broken = right & ~subject.right(theirs, task.y)
        both = broken & ours.broken
        lengths = [median_length(x, task.x, both) for x in (ours.adversarial, theirs)]
        found |= {
            f"ratio_{kind}_{name}": lengths[0] / lengths[1],
            f"ours_{kind}_{name}_l2": lengths[0],
            f"adv_lib_{kind}_{name}_l2": lengths[1],
            f"ours_{kind}_{name}_broken": int((ours.broken & right).sum()),
            f"adv_lib_{kind}_{name}_broken": int(broken.sum()),
        }
        print(json.dumps(found), flush=True)
    return found


def median_length(x: Tensor, clean: Tensor, chosen: Tensor) -> float:
    """Of the changes of the chosen pictures, in L2 and [0, 1] units."""
    lengths = (x - clean)[chosen].double().flatten(1).norm(dim=1)
    return float(lengths.median())


def measure(name: str, subject: Subject, options: Options) -> dict[str, Any]:
    """All of it on one classifier."""
    task = subject.task(0, QUICK_ROWS if options.quick else ROWS)
    return {**smallest(name, subject, task), **bounded(name, subject, task)}


def main() -> None:
    """Measures both classifiers and prints the figures as one line, the last."""
    options = read_options(__doc__, folders=FOLDERS)
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="attack-strength-") as directory:
        for name, subject in subjects(options, Path(directory)).items():
            figures |= measure(name, subject, options)
    report("attack_strength", figures, options=options, targets={}, limits=LIMITS)


if __name__ == "__main__":
    main()
