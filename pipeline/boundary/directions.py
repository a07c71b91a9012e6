"""The three ways that lead away from a picture: up the loss, the attack's, and random ones."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.attacks.base import Model, Norm, per_row, row_norm
from pipeline.attacks.engine.loop import attack_rows
from pipeline.attacks.geometry.rowwise import row_dot
from pipeline.attacks.methods.ddn import Ddn
from pipeline.boundary.rule import finite
from pipeline.chain.noise import Purpose, keyed_normal
from pipeline.fixed_batch import padded_calls


@dataclass(frozen=True)
class Slope:
    """The margin of the label over one other class, ``m = z_y - z_r``, and its gradient.

    Attributes:
        margin: float64 ``[N]``, in logits.
        gradient: float32 ``[N, C, H, W]``, of the margin by the picture.
        rival: int64 ``[N]``, the other class r: the highest of them in the picture.
    """

    margin: Tensor
    gradient: Tensor
    rival: Tensor

    @property
    def steepness(self) -> Tensor:
        """The gradient's length in L2, float64 ``[N]``: logits for each unit of length."""
        return row_norm(self.gradient.double(), Norm.L2).flatten()

    @property
    def descent(self) -> Tensor:
        """The direction of length 1 in which the margin falls fastest; 0 without a gradient."""
        return -unit(self.gradient)

    def predicted_distance(self) -> Tensor:
        """How far off the boundary would be were the margin linear, float64 ``[N]``; may be inf."""
        return self.margin / self.steepness


def slope_at(model: Model, x: Tensor, label: Tensor, rows: Tensor, rows_per_call: int) -> Slope:
    """The margin and its gradient at pictures.

    Args:
        model: pictures to logits with a gradient.
        x: float32 ``[N, C, H, W]``, N >= 1.
        label: int64 ``[N]``.
        rows: int64 ``[N]``, the rows' numbers, for messages.
        rows_per_call: pictures in a call.

    Raises:
        UserError: logits that are not finite.
    """
    parts: list[tuple[Tensor, ...]] = []
    with torch.enable_grad():
        for real, (part, own) in padded_calls(x, label, rows_per_call=rows_per_call):
            probe = part.detach().requires_grad_(True)
            logits = model(probe)
            own = own.to(logits.device)
            others = logits.detach().scatter(1, own[:, None], -torch.inf)
            rival = others.argmax(dim=1)
            margin = margin_over(logits, own, rival)
            (gradient,) = torch.autograd.grad(margin.sum(), probe)
            found = (logits.detach(), margin.detach(), gradient, rival)
            parts.append(tuple(values[:real].cpu() for values in found))
    logits, margin, gradient, rival = (torch.cat(values) for values in zip(*parts, strict=True))
    finite(logits, rows)
    return Slope(margin, gradient, rival)


def margin_over(logits: Tensor, label: Tensor, rival: Tensor) -> Tensor:
    """``z_y - z_r`` of logits ``[N, K]``, float64 ``[N]``."""
    pair = logits.gather(1, torch.stack((label, rival), dim=1)).double()
    return pair[:, 0] - pair[:, 1]


@dataclass(frozen=True)
class Adversarial:
    """Where an attack went.

    Attributes:
        direction: float32 ``[N, C, H, W]``, of length 1; 0 where no picture was found.
        length: float64 ``[N]``, of the change that it found, in L2; inf where there is none.
    """

    direction: Tensor
    length: Tensor


def adversarial(
    model: Model,
    x: Tensor,
    label: Tensor,
    rows: Tensor,
    *,
    steps: int,
    seed: int,
    rows_per_call: int,
) -> Adversarial:
    """The direction of the smallest change in L2 that DDN finds (`pipeline.attacks.methods.ddn`).

    Args:
        model: pictures to logits with a gradient.
        x: float32 ``[N, C, H, W]``, whole levels divided by 255.
        label: int64 ``[N]``.
        rows: int64 ``[N]``, the rows' numbers.
        steps: of the attack.
        seed: keys what the attack draws.
        rows_per_call: pictures in a call.
    """
    found = attack_rows(
        Ddn(steps=steps), model, x, label, rows, seed=seed, rows_per_call=rows_per_call
    )
    change = (found.adversarial.cpu() - x).where(per_row(found.broken.cpu()), torch.zeros(()))
    length = row_norm(change.double(), Norm.L2).flatten()
    return Adversarial(unit(change), length.where(length > 0, torch.inf))


def random_directions(seed: int, rows: Tensor, num: int, shape: tuple[int, ...]) -> Tensor:
    """``num`` directions a row, uniform on the sphere: float32 ``[N, num, C, H, W]``, of length 1.

    Each is keyed by seed, row and its number.

    Args:
        rows: int64 ``[N]``.
        shape: of a picture, ``(C, H, W)``.
    """
    number = torch.arange(num).repeat(len(rows))
    row = rows.cpu().repeat_interleave(num)
    drawn = keyed_normal(torch.full_like(row, seed), row, number, Purpose.BOUNDARY, shape)
    return unit(drawn).reshape(len(rows), num, *shape)


def unit(vectors: Tensor) -> Tensor:
    """Each of ``[N, C, H, W]`` brought to length 1 in L2; 0 stays 0."""
    return vectors / row_norm(vectors, Norm.L2).clamp_min(1e-30)


def along(vectors: Tensor, directions: Tensor) -> Tensor:
    """``<v, u>`` of each row of two ``[N, C, H, W]``, float64 ``[N]``."""
    return row_dot(vectors.double(), directions.double())
