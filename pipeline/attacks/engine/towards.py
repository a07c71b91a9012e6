"""Attacks towards a class: the same attacks, on the question whether the answer is that class.

For a row that is to be answered as class t all attacks see a model with two logits: the strongest
of the other classes, which counts as the right answer, and t. So its margin is
``z_t - max_{i≠t} z_i``, above 0 exactly where the answer is t. That is the loss which Carlini and
Wagner, "Towards evaluating the robustness of neural networks", 2016 (arXiv 1608.04644), found best
of seven (f_6), and FAB, DeepFool and the like step to the border of t. Attacks on the cross-entropy
raise the target's log odds among all classes, ``z_t - log Σ_{i≠t} exp z_i``, which point along
``log p_t``.
"""

from collections.abc import Callable
from dataclasses import fields

import torch
from torch import Tensor

from pipeline.attacks import losses
from pipeline.attacks.base import Model
from pipeline.attacks.engine.aim import towards
from pipeline.attacks.engine.ensemble import AttackedInTurn
from pipeline.attacks.engine.loop import Attacked
from pipeline.attacks.engine.queries import Asker

# Attacks pictures, with labels, row numbers, the clean pictures' two logits, whose pass it counts,
# and targets, against a model.
Run = Callable[[Model, Tensor, Tensor, Tensor, Tensor, Tensor], Attacked]


def attack_towards(
    run: Run,
    model: Model,
    x: Tensor,
    y: Tensor,
    rows: Tensor,
    targets: Tensor,
    rows_per_call: int,
    logits: Tensor | None = None,
) -> AttackedInTurn:
    """Attacks each row until it is answered as its target.

    Only rows that are answered rightly and have another target than their label are attacked; of
    the others the clean picture comes back. Rows share the model's calls, whatever their targets.

    Args:
        run: an attack, or several in turn.
        model, x, y, rows: as `attack_rows` takes them.
        targets: int64 ``[N]``.
        rows_per_call: see `attack_rows`.
        logits: the model's for ``x``, ``[N, K]``, where they are known; their pass counts all the
            same.

    Returns:
        As of several attacks in turn. ``margin`` is the lead of the target over the strongest other
        class, and ``clean_right`` says which rows were attacked; no other one is ``broken``.
    """
    asker = Asker(model, rows_per_call, x)
    logits = asker.logits(x) if logits is None else logits
    attacked = (logits.argmax(dim=1) == y) & (targets != y)
    attacked = attacked | ~logits.isfinite().all(dim=1)  # which `attack_rows` refuses by number
    none = torch.zeros_like(y)
    values: dict[str, Tensor] = {
        "adversarial": x.clone(),
        "margin": -losses.margin(logits, targets),
        "broken": none > 0,
        "clean_right": attacked,
        "alarming": none > 0,
        "audited": none > 0,
        **{name: none.clone() for name in ("step", "restart", "forwards", "backwards", "attack")},
    }
    calls = asker.calls
    at = attacked.nonzero().flatten()
    if len(at):
        aims = targets[at]
        results = run(model, x[at], none[at], rows[at], towards(logits[at], aims), aims)
        for field in fields(results):
            if field.name != "calls":
                values[field.name][at] = getattr(results, field.name)
        calls += results.calls
    values["forwards"] += ~attacked  # the clean picture, which said who is attacked
    return AttackedInTurn(**values, calls=calls)
