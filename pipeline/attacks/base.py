"""What an attack is, and what it is given: rows, their state, and a model to ask."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, Protocol

import torch
from torch import Tensor

from pipeline.attacks.geometry.rowwise import never_alone
from pipeline.chain.noise import Purpose, keyed_normal, keyed_uniform

Model = Callable[[Tensor], Tensor]
State = dict[str, Tensor]
# Of the logits of N rows and further tensors of N rows: N values that the attack raises.
Loss = Callable[..., Tensor]

# A draw's number is restart * _DRAWS + step; the generator takes numbers below 2**24.
_DRAWS = 1 << 14
MOST_STEPS, MOST_RESTARTS = _DRAWS, (1 << 24) // _DRAWS


class Norm(StrEnum):
    """How a perturbation is measured."""

    LINF = "linf"  # the largest change of any value
    L2 = "l2"  # the Euclidean length of the change
    L1 = "l1"  # the sum of the changes' sizes


if TYPE_CHECKING:
    NormName = str
else:
    NormName = Literal[tuple(norm.value for norm in Norm)]


@dataclass(frozen=True)
class Rows:
    """The rows that an attack works on at present, N of them.

    Attributes:
        clean: float32 ``[N, C, H, W]``, whole levels divided by 255.
        label: int64 ``[N]``, the true ones.
        logits: ``[N, K]``, the model's for the clean pictures.
        row: int64 ``[N]``, each row's number in its dataset, which keys its draws.
        restart: int64 ``[N]``, how often the row began before.
        step: int64 ``[N]``, how often ``step`` was called since it began.
        seed: keys all draws.
    """

    clean: Tensor
    label: Tensor
    logits: Tensor
    row: Tensor
    restart: Tensor
    step: Tensor
    seed: int

    @property
    def rivals(self) -> Tensor:
        """The wrong classes, most likely in the clean picture first, int64 ``[N, K - 1]``."""
        others = self.logits.scatter(1, self.label[:, None], -torch.inf)
        return others.argsort(dim=1, descending=True, stable=True)[:, :-1]

    @property
    def aim(self) -> Tensor:
        """The rival that each row's restart aims at, int64 ``[N]``.

        Restarts take the rivals in turn; further ones take the last rival again.
        """
        rivals = self.rivals
        number = self.restart.clamp_max(rivals.shape[1] - 1)
        return rivals.gather(1, number[:, None]).squeeze(1)

    def pick(self, index: Tensor) -> "Rows":
        """Those of the rows at these places, int64 ``[M]``."""
        names = ("clean", "label", "logits", "row", "restart", "step")
        return replace(self, **{name: getattr(self, name)[index] for name in names})

    def uniform(self, draw: int | Tensor, shape: tuple[int, ...]) -> Tensor:
        """Float32 ``[N, *shape]`` on (0, 1), keyed by seed, row, restart and the draw's number.

        With numbers ``[N, k]`` there are k draws a row: ``[N, k, *shape]``.
        """
        drawn = keyed_uniform(*self._keys(draw), Purpose.ATTACK, shape)
        if isinstance(draw, Tensor) and draw.ndim == 2:
            drawn = drawn.reshape(*draw.shape, *shape)
        # The generator's largest numbers would round to 1.
        return drawn.to(device=self.clean.device, dtype=torch.float32).clamp_max(1 - 2**-24)

    def normal(self, draw: int | Tensor, shape: tuple[int, ...]) -> Tensor:
        """Standard normal float32 ``[N, *shape]``, keyed as `uniform`."""
        return keyed_normal(*self._keys(draw), Purpose.ATTACK, shape).to(self.clean.device)

    def _keys(self, draw: int | Tensor) -> tuple[Tensor, Tensor, Tensor]:
        number, row = torch.as_tensor(draw).cpu(), self.row.cpu()
        restart = self.restart.cpu() * _DRAWS
        if number.ndim == 2:
            restart, row = restart[:, None], row[:, None].expand_as(number).flatten()
        number = (restart + number).flatten()
        return torch.full_like(number, self.seed), row, number


class Queries(Protocol):
    """How an attack asks the model about pictures ``[N, C, H, W]`` of its rows.

    Each row's passes are counted. Unless ``record``, of all rows or bool ``[N]``, is false, the
    picture must be one that can be stored (whole levels, in the ball): the best of them that a row
    is asked about is its result. Where ``asked``, bool ``[N]``, is false, the row takes no pass,
    what is returned for it is void, and its picture may be any.
    """

    def logits(
        self, x: Tensor, *, asked: Tensor | None = None, record: bool | Tensor = True
    ) -> Tensor:
        """The logits ``[N, K]``; a forward pass."""

    def gradient(
        self,
        x: Tensor,
        loss: Loss,
        *others: Tensor,
        wanted: Tensor,
        asked: Tensor | None = None,
        record: bool | Tensor = True,
    ) -> tuple[Tensor, Tensor]:
        """``ℓ = loss(logits, label, *others)`` of each row and ``∇_x ℓ``; forward and backward.

        Args:
            others: further tensors of N rows for the loss.
            wanted: bool ``[N]``: a row without is asked forward alone, and its gradient is void.

        Returns:
            ``[N]`` and ``[N, C, H, W]``.
        """

    @property
    def ahead(self) -> int:
        """How many pictures of each row a call is worth filling with; see `Asker.rows_to_fill`."""

    def first_above(
        self, x: Tensor, bar: Tensor, *, asked: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Asks about k pictures of each row one after the other, until one's margin is above a bar.

        All of them go into one call; as passes of the row only those up to that one count.

        Args:
            x: the pictures that are asked about, row by row, ``[asked.sum(), C, H, W]``.
            bar: ``[N]``; the margin of a picture that the row was asked about, or -inf.
            asked: bool ``[N, k]``; a picture without is passed over.

        Returns:
            The rows that had one, int64 ``[F]``; its number and its margin in each of these rows,
            ``[F]``; and it, ``[F, C, H, W]``.
        """


@dataclass(frozen=True)
class Stepped:
    """What a step of N rows led to.

    Attributes:
        state: what the attack keeps of the rows, under the same names as before the step.
        done: bool ``[N]``, which rows end before their time; or one for all.
        taken: int64 ``[N]``, how many steps each row took; or one number for all.
    """

    state: State
    done: Tensor | bool = False
    taken: Tensor | int = 1


class GradientSteps:
    """What attacks share whose steps are a gradient each, and a last look at where they led."""

    steps: int

    @property
    def num_steps(self) -> int:
        """The gradient steps, and the look."""
        return self.steps + 1

    def wants_gradient(self, rows: Rows) -> Tensor:
        """Which rows are not at their look, bool ``[N]``."""
        return rows.step < self.steps


class StepAttack(Protocol):
    """One attack. Every row advances on its own: what `step` does with a row depends on that row.

    Attributes:
        num_steps: calls of `step` after which a row is given up, below 16,384.
        restarts: how often a row may begin, at most 1,024.
        smallest: whether the smallest change that breaks a row is looked for, in this norm; with
            None a row is done at the first picture that breaks it.
    """

    @property
    def num_steps(self) -> int: ...

    @property
    def restarts(self) -> int: ...

    @property
    def smallest(self) -> Norm | None: ...

    def begin(self, rows: Rows) -> State:
        """What the attack keeps of rows before their first step: tensors of N rows, by name."""

    def step(self, rows: Rows, state: State, queries: Queries) -> Stepped:
        """One step of each row, or more."""


Named = tuple[str, StepAttack]  # an attack, and what it is called in a set


def row_norm(delta: Tensor, norm: Norm) -> Tensor:
    """The norm of each row of ``[N, C, H, W]``, shaped ``[N, 1, 1, 1]``."""
    if norm is Norm.LINF:  # a tenth of vector_norm's time, on a CPU
        return delta.abs().amax(dim=(1, 2, 3), keepdim=True)
    order = {Norm.L2: 2, Norm.L1: 1}[norm]
    length: Tensor = torch.linalg.vector_norm(
        never_alone(delta), ord=order, dim=(1, 2, 3), keepdim=True
    )
    return length[: delta.shape[0]]


def per_row(values: Tensor) -> Tensor:
    """``[N]`` shaped ``[N, 1, 1, 1]``, to go with pictures."""
    return values.reshape(-1, 1, 1, 1)
