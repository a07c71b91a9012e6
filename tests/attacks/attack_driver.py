"""Runs an attack by hand, so that every picture it asks about can be looked at."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from pipeline.attacks import losses
from pipeline.attacks.base import Loss, Model, Rows, State, StepAttack
from pipeline.attacks.geometry.ball import Ball


class FreeBall(Ball):
    """A ball without the lattice: pictures are asked about in floating point, as in the papers."""

    def snap(self, point: Tensor, clean: Tensor) -> Tensor:
        return point


def some_rows(
    clean: Tensor,
    *,
    label: Tensor | None = None,
    logits: Tensor | None = None,
    restart: int = 0,
    step: int | Tensor = 0,
    seed: int = 0,
) -> Rows:
    """Rows numbered from 0; labels and logits are zeros unless given."""
    num = clean.shape[0]
    zeros = torch.zeros(num, dtype=torch.int64)
    return Rows(
        clean,
        zeros if label is None else label,
        torch.zeros(num, 4) if logits is None else logits,
        torch.arange(num),
        zeros + restart,
        zeros + step,
        seed,
    )


@dataclass
class Recorder:
    """`Queries` that keep what was asked; no counting, no padding, no best picture.

    What is void, because a row was not asked, is not a number. Of the rows that were, `masks` keeps
    which, None for all.
    """

    model: Model
    label: Tensor
    asked: list[Tensor] = field(default_factory=list)
    masks: list[Tensor | None] = field(default_factory=list)
    lossless: list[bool] = field(default_factory=list)  # whether for the logits alone
    wanted: list[Tensor] = field(default_factory=list)

    def logits(
        self, x: Tensor, *, asked: Tensor | None = None, record: bool | Tensor = True
    ) -> Tensor:
        self.asked.append(x.clone())
        self.masks.append(asked)
        self.lossless.append(True)
        logits = self.model(x)
        return logits if asked is None else logits.masked_fill(~asked[:, None], torch.nan)

    @property
    def ahead(self) -> int:
        return 1

    def first_above(
        self, x: Tensor, bar: Tensor, *, asked: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        this = asked[:, 0]
        pictures = torch.full((len(bar), *x.shape[1:]), torch.nan)
        pictures[this] = x
        margin = losses.margin(self.logits(pictures, asked=this), self.label)
        rows = (this & (margin > bar)).nonzero().flatten()
        return rows, torch.zeros_like(rows), margin[rows], pictures[rows]

    def gradient(
        self,
        x: Tensor,
        loss: Loss,
        *others: Tensor,
        wanted: Tensor,
        asked: Tensor | None = None,
        record: bool | Tensor = True,
    ) -> tuple[Tensor, Tensor]:
        self.asked.append(x.clone())
        self.masks.append(asked)
        self.lossless.append(False)
        self.wanted.append(wanted.clone())
        probe = x.clone().requires_grad_(True)
        logits = self.model(probe)
        values = loss(logits, self.label, *others)
        (gradient,) = torch.autograd.grad(values.sum(), probe)
        if asked is None:
            return values.detach(), gradient
        return (
            values.detach().masked_fill(~asked, torch.nan),
            gradient.masked_fill(~(asked & wanted).reshape(-1, 1, 1, 1), torch.nan),
        )


def drive(
    attack: StepAttack, model: Model, clean: Tensor, label: Tensor, *, restart: int = 0
) -> tuple[list[Tensor], list[State], Recorder]:
    """All steps of every row, broken or not: what was asked, and the state after each step."""
    recorder = Recorder(model, label)
    with torch.no_grad():
        logits = model(clean)

    def rows(step: int) -> Rows:
        return some_rows(clean, label=label, logits=logits, restart=restart, step=step)

    state = attack.begin(rows(0))
    states = [state]
    for step in range(attack.num_steps):
        stepped = attack.step(rows(step), state, recorder)
        state = stepped.state
        done = {} if stepped.done is False else {"done": torch.as_tensor(stepped.done)}
        states.append({**state, **done})
    return recorder.asked, states, recorder


def moved_from(point: Tensor, clean: Tensor, attack: StepAttack, step: int) -> Tensor:
    """What a step asks about, less the clean picture."""
    recorder = Recorder(lambda x: torch.zeros(len(x), 2), torch.zeros(len(clean)).long())
    rows = some_rows(clean, step=step)
    start = {"point": point, "loss": torch.full((len(clean),), torch.inf)}
    attack.step(rows, {**attack.begin(rows), **start}, recorder)
    return recorder.asked[0] - clean


def on_lattice(x: Tensor) -> Tensor:
    """The nearest pictures of whole levels."""
    return (x * 255).round() / 255


def lattice_pictures(num: int, shape: Sequence[int] = (1, 6, 6), seed: int = 0) -> Tensor:
    """Random ones, float32 ``[num, C, H, W]``; the first is black, the second white."""
    generator = torch.Generator().manual_seed(seed)
    levels = torch.randint(0, 256, (num, *shape), generator=generator)
    levels[:1], levels[1:2] = 0, 255
    return levels.float() / 255


def conv_network(seed: int = 0, classes: int = 4) -> nn.Module:
    """A small network for grey pictures of 6 x 6, whose borders go through `lattice_pictures`.

    Its logits are 0 on average: random pictures lie so near its borders that 8 levels in L∞ take
    about every second one across.
    """
    generator = torch.Generator().manual_seed(seed)
    last = nn.Linear(8 * 36, classes)
    network = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), last)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.uniform_(-0.3, 0.3, generator=generator)
        last.bias -= network(lattice_pictures(256, seed=seed + 1)).mean(dim=0)
    return network
