"""Attacks towards a class: the same attacks, on the question whether the answer is that class.

For a row that is to be answered as class t all attacks see a model with two logits: the strongest
of the other classes, which counts as the right answer, and t. So its margin is
``z_t - max_{i≠t} z_i``, above 0 exactly where the answer is t. That is the loss which Carlini and
Wagner, "Towards evaluating the robustness of neural networks", 2016 (arXiv 1608.04644), found best
of seven (f_6); FAB, DeepFool and the like step to the border of t; and attacks on the cross-entropy
raise ``-log(1 - p_t)`` of those two logits, whose gradient points along that of the margin.
"""

from collections.abc import Callable
from dataclasses import fields
from functools import partial

import torch
from torch import Tensor

from pipeline.attacks import losses
from pipeline.attacks.base import Model
from pipeline.attacks.call_sizes import RowView
from pipeline.attacks.engine import Attacked
from pipeline.attacks.ensemble import AttackedInTurn
from pipeline.attacks.queries import Asker

# Attacks pictures, with labels, row numbers and the clean pictures' logits, whose pass it counts,
# against a model.
Run = Callable[[Model, Tensor, Tensor, Tensor, Tensor], Attacked]


def towards(logits: Tensor, target: int) -> Tensor:
    """``(max_{i≠t} z_i, z_t)`` of logits ``[N, K]``: ``[N, 2]``, of which t is the wrong answer."""
    others = torch.cat((logits[:, :target], logits[:, target + 1 :]), dim=1)
    return torch.stack((others.amax(dim=1), logits[:, target]), dim=1)


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
    the others the clean picture comes back. Rows with one target share the model's calls.

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
    for target in targets[attacked].unique().tolist():
        at = (attacked & (targets == target)).nonzero().flatten()

        view = partial(towards, target=target)
        found = run(RowView(model, view), x[at], none[at], rows[at], view(logits[at]))
        for field in fields(found):
            if field.name != "calls":
                values[field.name][at] = getattr(found, field.name)
        calls += found.calls
    values["forwards"] += ~attacked  # the clean picture, which said who is attacked
    return AttackedInTurn(**values, calls=calls)
