"""Ours inside AttackBench: FMN in L2 beside adv-lib's, by AttackBench's own measure.

`fmn` has the form that its `create_custom_attack` takes, and is one line. AttackBench watches every
question that an attack asks, allows 2,000 passes a picture, and takes as the result the smallest
change that any question showed to break the picture, rounded to 8 bits or not. 200 test pictures
of Fashion-MNIST and the natural classifier of `attack_speed`; 100 steps on either side.
`ratio_median_l2`: adv-lib's median over ours, of the pictures that both broke.
"""

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

import noisestack as ns
from benchmarks.classifiers import FOLDERS, QUICK_ROWS, subjects
from benchmarks.common import read_options, report

ROWS, BATCH, STEPS, QUICK_STEPS = 200, 100, 100, 20


def fmn(
    model: nn.Module, inputs: Tensor, labels: Tensor, norm: str = "l2", steps: int = STEPS
) -> Tensor:
    """Our FMN in AttackBench's form.

    A call is the whole batch: rows that fill up a call would count against the last one's budget.
    """
    found = ns.attack(
        model, inputs, labels, "fmn", norm=norm, steps=steps, rows_per_call=len(inputs)
    )
    return found.x_adv.to(inputs.device)


def adv_lib_fmn(model: nn.Module, inputs: Tensor, labels: Tensor, steps: int = STEPS) -> Tensor:
    """adv-lib's in the same form."""
    from benchmarks.attackers.with_adv_lib import fmn_l2

    return fmn_l2(model, inputs, labels, steps)


def figures(ours: dict[str, Any], adv_lib: dict[str, Any]) -> dict[str, float]:
    """The comparison, of what `with_attackbench.run` gives for either side."""
    lengths = [np.array(side["distances"]["l2"]) for side in (ours, adv_lib)]
    right = np.array(ours["correct"])
    both = right & np.isfinite(lengths[0]) & np.isfinite(lengths[1])
    medians = [float(np.median(length[both])) for length in lengths]
    named = {"ours": (ours, medians[0]), "adv_lib": (adv_lib, medians[1])}
    found: dict[str, float] = {"ratio_median_l2": medians[1] / medians[0]}
    for name, (side, median) in named.items():
        broken = right & np.isfinite(side["distances"]["l2"])
        found |= {
            f"{name}_median_l2": median,
            f"{name}_broken_rows": int(broken.sum()),
            f"{name}_forwards_a_row": float(np.mean(side["num_forwards"])),
            f"{name}_backwards_a_row": float(np.mean(side["num_backwards"])),
        }
    return found


def main() -> None:
    """Measures both sides and prints the figures as one line, the last."""
    from benchmarks.attackers import with_attackbench

    options = read_options(__doc__, folders=FOLDERS)
    rows, steps = (QUICK_ROWS, QUICK_STEPS) if options.quick else (ROWS, STEPS)
    with tempfile.TemporaryDirectory(prefix="attackbench-fit-") as directory:
        task = subjects(options, Path(directory))["natural"].task(0, rows)
    ours, adv_lib = (
        with_attackbench.run(partial(attack, steps=steps), task.network, task.x, task.y, BATCH)
        for attack in (fmn, adv_lib_fmn)
    )
    report("attackbench_fit", {"rows": rows, **figures(ours, adv_lib)}, options=options, targets={})


if __name__ == "__main__":
    main()
