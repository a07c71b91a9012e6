"""A user's own attack, ``module:function``: run on fixed batches, and judged by us.

The function is called as ``function(model, x, y, eps)``; one without a parameter ``eps`` looks for
the smallest change, and is called as ``function(model, x, y)``. It gets a torch module that gives
logits, float32 pictures ``[N, C, H, W]`` in [0, 1] that the model gets right, their labels, and
returns pictures ``[N, C, H, W]``. Whatever it claims of them is not asked: each is brought into
the box and the ball, rounded to whole levels, and shown to the model anew. Without a ball, a change
that rounding makes too short is lengthened by up to its own length.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.attacks import losses
from pipeline.attacks.base import Model, Norm, per_row
from pipeline.attacks.engine.counting_model import CountingModel
from pipeline.attacks.engine.loop import Attacked
from pipeline.attacks.engine.queries import Asker
from pipeline.attacks.geometry.ball import Ball
from pipeline.attacks.geometry.lattice import on_lattice
from pipeline.attacks.trust.repeatability import Generators, Repeat, repeated, seeded
from pipeline.errors import UserError
from pipeline.fixed_batch import padded_calls
from pipeline.importable import error_line, import_function, source_sha256
from pipeline.perturbation_terms import MARGIN, NO_TARGET

# The smallest change ends just behind the border: rounded, half of them are in front of it again.
# Such a change is lengthened by these factors in turn, until the rounded picture breaks the row.
_LONGER = (1.02, 1.05, 1.1, 1.2, 1.5, 2.0)


@dataclass(frozen=True)
class OwnAttack:
    """A user's attack with everything that its result depends on, besides model and pictures.

    Attributes:
        attack: ``module:function``.
        norm: how the change is measured.
        eps_levels: the ball's radius in levels of 1/255; 0, no ball, where the function takes none.
        seed: seeds the generators of torch, numpy and Python before each call.

    Raises:
        UserError: there is no such function, or eps is missing or not taken.
    """

    attack: str
    norm: Norm
    eps_levels: int
    seed: int

    def __post_init__(self) -> None:
        if not self.bounded and self.eps_levels:
            raise UserError(
                f"{self.attack} has no parameter eps, so it looks for the smallest change; "
                "leave --eps out"
            )
        if self.bounded and self.eps_levels < 1:
            raise UserError(f"eps must be at least one level of 1/255, not {self.eps_levels}")

    @property
    def bounded(self) -> bool:
        """Whether the attack is told a ball to stay in."""
        return takes_eps(self.attack)

    @property
    def target(self) -> str:
        """Any wrong class."""
        return NO_TARGET

    @property
    def draws(self) -> int:
        """One: the function is on its own with a model that answers by chance."""
        return 1

    @property
    def source_sha256(self) -> str:
        """Of the file that the function stands in."""
        return source_sha256(import_function(self.attack))


@dataclass(frozen=True)
class AttackedByOther(Attacked):
    """What came of a user's attack on N rows; ``step`` is 1 where its picture was taken.

    Attributes:
        lost: bool ``[N]``: rows that the attack's own picture broke, and no longer when it was
            inside the ball and of whole levels.
        repeat: what the first batch showed that was attacked twice; None where none was.
    """

    lost: Tensor
    repeat: Repeat | None = None


def takes_eps(spec: str) -> bool:
    """Whether a user's attack has a parameter ``eps``; UserError where there is no such attack."""
    try:
        return "eps" in inspect.signature(import_function(spec)).parameters
    except ValueError:
        return True


def attack_with(
    own: OwnAttack,
    model: Model,
    x: Tensor,
    y: Tensor,
    rows: Tensor,
    *,
    rows_per_call: int,
    repeat_first: bool = False,
    threshold: float = MARGIN,
) -> AttackedByOther:
    """Runs a user's attack on the rows that the model gets right.

    The last batch is filled by repeating its last row. A row's passes are its batch's, divided by
    the batch's rows and rounded upwards, and those that we ask. Before each batch the generators
    are seeded with a number of its own, from the seed and the batch's first row: other batches,
    and so other shards, draw other noise.

    Args:
        model, x, y, rows, rows_per_call: see `engine.loop.attack_rows`. The function
            gets the logits as they are, and not `Rescaled`: it is the user's, for this model.
        repeat_first: whether the first batch is attacked a second time, to see if it ends alike;
            those passes count for no row.
        threshold: by how much another class must lead, in logits.

    Raises:
        UserError: the function raises, or does not return finite pictures of the right shape.
    """
    asker = Asker(model, rows_per_call, x)
    margin, right = x.new_zeros(0), torch.zeros(0, dtype=torch.bool, device=x.device)
    if len(x):
        logits = asker.logits(x)
        margin, right = losses.margin(logits, y), logits.argmax(dim=1) == y
    index = right.nonzero().flatten()
    counts = torch.zeros((2, len(x)), dtype=torch.int64, device=x.device)
    lost, best, calls, repeat = torch.zeros_like(right), x.clone(), 0, None
    if len(index):
        clean, label = x[index], y[index]
        raw, counts[:, index], calls, repeat = _in_batches(
            own, model, clean, label, rows[index], rows_per_call, repeat_first
        )
        claimed = losses.margin(asker.logits(raw), label) > 0
        stored, stored_margin, asked = _judged(own, asker, raw, clean, label, claimed, threshold)
        counts[0, index] += 1 + asked
        lost[index] = claimed & (stored_margin <= threshold)
        better = stored_margin > margin[index]
        best[index] = torch.where(per_row(better), stored, clean)
        margin[index] = torch.where(better, stored_margin, margin[index])
    return AttackedByOther(
        adversarial=best,
        margin=margin,
        broken=margin > threshold,
        step=(best != x).flatten(1).any(dim=1).long() if len(x) else counts[0],
        restart=torch.zeros_like(counts[0]),
        forwards=counts[0] + 1,
        backwards=counts[1],
        clean_right=right,
        calls=asker.calls + calls,
        lost=lost,
        repeat=repeat,
    )


def _in_batches(
    own: OwnAttack,
    model: Model,
    x: Tensor,
    y: Tensor,
    rows: Tensor,
    rows_per_call: int,
    repeat_first: bool,
) -> tuple[Tensor, Tensor, int, Repeat | None]:
    """What the function makes of the rows, batch after batch.

    Returns:
        Its pictures ``[N, C, H, W]``; the rows' passes, forwards and backwards, int64 ``[2, N]``;
        the calls; and what a second run of the first batch showed, where that was wanted.
    """
    function = import_function(own.attack)
    counts = torch.zeros((2, len(x)), dtype=torch.int64, device=x.device)
    parts: list[Tensor] = []
    start, calls, repeat = 0, 0, None
    for real, (x_part, y_part) in padded_calls(x, y, rows_per_call=rows_per_call):
        chosen = slice(start, start + real)
        counting = CountingModel(model, x.device)
        parts.append(_run(function, own, counting, x_part, y_part, rows[chosen])[0])
        if repeat_first and start == 0:
            again = CountingModel(model, x.device)
            repeat = repeated(
                parts[0], partial(_run, function, own, again, x_part, y_part, rows[chosen])
            )
        asked = torch.tensor([counting.forwards, counting.backwards], device=x.device)
        counts[:, chosen] += -(-asked[:, None] // rows_per_call)
        calls, start = calls + counting.calls, start + real
    return torch.cat(parts), counts, calls, repeat


def _judged(
    own: OwnAttack,
    asker: Asker,
    raw: Tensor,
    clean: Tensor,
    label: Tensor,
    claimed: Tensor,
    threshold: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """The function's pictures in whole levels, margins ``[N]``, and our passes, int64 ``[N]``.

    Args:
        claimed: bool ``[N]``, whether the function's own pictures break the rows.
    """
    stored = _stored(own, raw, clean)
    margin = losses.margin(asker.logits(stored), label)
    asked = torch.ones_like(label)
    for factor in () if own.bounded else _LONGER:
        short = claimed & (margin <= threshold)
        if not bool(short.any()):
            break
        longer = clean[short] + factor * (raw[short] - clean[short])
        stored[short] = _stored(own, longer, clean[short])
        margin[short] = losses.margin(asker.logits(stored[short]), label[short])
        asked[short] += 1
    return stored, margin, asked


def _run(
    function: Callable[..., Any],
    own: OwnAttack,
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    rows: Tensor,
) -> tuple[Tensor, Generators]:
    """What the function makes of a batch with its seed, and what became of the generators."""
    with seeded(own.seed, int(rows[0])) as generators:
        pictures = _call(function, own, model, x, y, rows)
    return pictures, generators


def _call(
    function: Callable[..., Any],
    own: OwnAttack,
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    rows: Tensor,
) -> Tensor:
    """What the function returns for the rows, which fill the batch but for copies; checked."""
    real = len(rows)
    eps = {"eps": own.eps_levels / 255} if own.bounded else {}
    try:
        pictures = function(model, x.clone(), y.clone(), **eps)
    except Exception as error:
        raise UserError(f"the attack {own.attack} raised {error_line(error)}") from None
    if not isinstance(pictures, Tensor) or pictures.shape != x.shape:
        what = list(pictures.shape) if isinstance(pictures, Tensor) else type(pictures).__name__
        raise UserError(
            f"the attack {own.attack} returned {what} where it was given pictures {list(x.shape)}; "
            "it must return as many pictures of the same shape"
        )
    pictures = pictures.detach().to(device=x.device, dtype=x.dtype)
    bad = ~pictures.flatten(1)[:real].isfinite().all(dim=1)
    if bool(bad.any()):
        first = int(rows[bad][0])
        raise UserError(
            f"the attack {own.attack} returned pictures that are not finite numbers for "
            f"{int(bad.sum())} of {real} rows, first row {first}; where it finds nothing it must "
            "return the clean picture"
        )
    return pictures[:real]


def _stored(own: OwnAttack, raw: Tensor, clean: Tensor) -> Tensor:
    """The pictures in box and ball, of whole levels."""
    if not own.bounded:
        return on_lattice(raw.clamp(0, 1), clean, own.norm)
    ball = Ball(own.norm, own.eps_levels)
    return ball.snap(ball.project(raw, clean), clean)
