"""The ball around a picture and the lattice of 8-bit pictures in it.

All is counted in levels, steps of 1/255 between neighbouring 8-bit values. An attack moves in
floating point and asks the model about lattice points alone, so what it finds is what is stored:
nothing is lost to rounding, and "inside" has no tolerance, since it is decided in integers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

import torch
from torch import Tensor

from pipeline.attacks.base import Norm, Rows, row_norm
from pipeline.attacks.geometry.projection import onto_ball, within_box
from pipeline.errors import UserError
from pipeline.pictures import LEVELS

# float32 pictures times 255 miss a whole level by up to 2e-5.
_SNAP = 1e-3
_SPARSE = 0.01  # of the values move in a step of an L1 attack


def largest_change(norm: Norm, shape: Sequence[int]) -> float:
    """The norm of the change from a black to a white picture of this shape, in [0, 1] units."""
    match norm:
        case Norm.LINF:
            return 1.0
        case Norm.L2:
            return math.sqrt(math.prod(shape))
        case Norm.L1:
            return float(math.prod(shape))
        case _:
            assert_never(norm)


def check_size(name: str, value: float, norm: Norm, shape: Sequence[int] = ()) -> None:
    """Raises UserError where a length in [0, 1] units is more than any change of a picture has.

    Args:
        name: of the length, for the message.
        shape: of the pictures; not known yet where it is left out, and then in L∞ alone.
    """
    if not shape and norm is not Norm.LINF:
        return
    most = largest_change(norm, shape)
    # A root that was rounded is no mistake.
    if value <= most * (1 + 1e-6):
        return
    what = f"of {'x'.join(map(str, shape))} values, " if shape and norm is not Norm.LINF else ""
    guess = ""
    if float(value).is_integer() and value / LEVELS <= most:
        guess = f"; did you mean {value:g}/{LEVELS} ({value / LEVELS:.4f})?"
    raise UserError(
        f"{name} {value:g} lies outside 0 to {most:g}, the largest change of a picture {what}in "
        f"{norm.value}{guess or '; it is given in [0, 1] units'}"
    )


def whole_levels(eps: float, norm: Norm) -> int:
    """The ball's radius in whole levels of 1/255, rounded downwards.

    Args:
        eps: the radius in [0, 1] units.
        norm: in which it is; an L2 or L1 radius may exceed 1 (see `check_size`).

    Raises:
        UserError: below one level no 8-bit picture but the original lies in the ball; above 1 in L∞
            all pictures do.
    """
    check_size("eps", eps, norm)
    levels = math.floor(eps * LEVELS + 1e-6) if math.isfinite(eps) else 0
    if levels < 1:
        raise UserError(
            f"eps is {eps:g}, less than one level of an 8-bit picture (1/255 ≈ 0.00392); "
            "give a finite eps of at least 0.00393"
        )
    return levels


@dataclass(frozen=True)
class Ball:
    """Pictures in [0, 1] whose change has at most this norm.

    Attributes:
        norm: how the change is measured.
        levels: the radius, in levels of 1/255, at least 1.
    """

    norm: Norm
    levels: int

    def __post_init__(self) -> None:
        if not isinstance(self.norm, Norm):  # what is not the one norm would count as the other
            raise ValueError(f"there is no norm {self.norm!r}, only {', '.join(Norm)}")

    @property
    def eps(self) -> float:
        """The radius in [0, 1] units."""
        return self.levels / LEVELS

    def project(self, point: Tensor, clean: Tensor) -> Tensor:
        """The point of the ball around ``clean`` near ``point``, in the box; see `onto_ball`.

        Both are float32 ``[N, C, H, W]``.
        """
        radius = point.new_full((point.shape[0],), self.eps)
        return clean + onto_ball(point - clean, radius, self.norm, clean)

    def steepest(self, gradient: Tensor) -> Tensor:
        """The direction, of norm 1, in which a linear loss with this gradient rises fastest.

        In L1 that is one value alone; the largest hundredth of the values share the step, as in
        Tramèr and Boneh, "Adversarial training and robustness for multiple perturbations", 2019.
        """
        match self.norm:
            case Norm.LINF:
                return gradient.sign()
            case Norm.L2:
                return gradient / row_norm(gradient, Norm.L2).clamp_min(1e-30)
            case Norm.L1:
                flat = gradient.flatten(1)
                count = max(1, int(flat.shape[1] * _SPARSE))
                least = flat.abs().topk(count, dim=1).values[:, -1:]
                direction = flat.sign() * (flat.abs() >= least)
                share = direction / direction.abs().sum(dim=1, keepdim=True).clamp_min(1.0)
                return share.reshape(gradient.shape)
            case _:
                assert_never(self.norm)

    def movable(self, gradient: Tensor, point: Tensor) -> Tensor:
        """In L1, the gradient without the values that the box holds back; else all of it.

        There few values share a step, and those at the box would take it in vain: Croce and Hein,
        "Mind the box: l1-APGD for sparse adversarial attacks on image classifiers", 2021
        (arXiv 2103.01208).
        """
        return -within_box(-gradient, point) if self.norm is Norm.L1 else gradient

    def random_point(self, rows: Rows, draw: int) -> Tensor:
        """A point drawn uniformly from the ball around each picture, then clipped to [0, 1].

        Args:
            draw: the number of the first of the two draws that it takes.
        """
        shape = tuple(rows.clean.shape[1:])
        match self.norm:
            case Norm.LINF:
                return self.project(
                    rows.clean + self.eps * (2 * rows.uniform(draw, shape) - 1), rows.clean
                )
            case Norm.L2:
                # A direction on the sphere; its radius grows as the d-th root, as volume does.
                direction = rows.normal(draw, shape)
            case Norm.L1:
                # Laplace draws, divided by the sum of their sizes, are uniform on L1's sphere.
                uniform = 2 * rows.uniform(draw, shape) - 1
                direction = -uniform.sign() * torch.log1p(-uniform.abs().clamp_max(1 - 1e-7))
            case _:
                assert_never(self.norm)
        delta = direction / row_norm(direction, self.norm)
        radius = rows.uniform(draw + 1, (1, 1, 1)) ** (1 / math.prod(shape))
        return self.project(rows.clean + self.eps * radius * delta, rows.clean)

    def corner(self, clean: Tensor, sign: Tensor) -> Tensor:
        """In L∞, the lattice point where every value went to one end of the ball or of the box.

        Args:
            clean: ``[N, C, H, W]``, on the lattice.
            sign: 1 or -1 for each value; broadcast.
        """
        return ((clean * LEVELS).round() + self.levels * sign).clamp(0, LEVELS) / LEVELS

    def snap(self, point: Tensor, clean: Tensor) -> Tensor:
        """The lattice point of the ball near ``point``: whole levels divided by 255, float32.

        L∞: the nearest one; the ball's own bounds are whole levels. L2 and L1: rounding to nearest
        can lengthen the change by up to half a level a value, so each value is first cut towards
        the clean one, and then raised again by one level, those that lost the most first, as long
        as the change is no longer than that of ``point``, nor than the radius.
        """
        base = (clean * LEVELS).round()
        if self.norm is Norm.LINF:
            low, high = (base - self.levels).clamp_min(0), (base + self.levels).clamp_max(LEVELS)
            return (point * LEVELS).round().clamp(low, high) / LEVELS
        # In float64, which holds sums of squares exactly up to 9e15.
        delta = ((point.double() * LEVELS).clamp(0, LEVELS) - base).flatten(1)
        whole = self._shortened(delta).reshape(clean.shape)
        return (base + whole.to(base.dtype)) / LEVELS

    def whole(self, change: Tensor) -> Tensor:
        """A change in levels, float64 ``[N, ...]``, rounded into the ball as by `snap`; no box."""
        if self.norm is Norm.LINF:
            return change.round().clamp(-self.levels, self.levels)
        return self._shortened(change.flatten(1)).reshape(change.shape)

    def contains(self, points: Tensor, clean: Tensor) -> Tensor:
        """Whether lattice points lie in the ball, bool ``[N]``, decided in whole levels.

        The reference form of the ball, which tests hold the attacks' pictures against. The rows of
        a set are checked by `pipeline.formats.perturbation.set.in_ball`.
        """
        change = ((points * LEVELS).round().long() - (clean * LEVELS).round().long()).flatten(1)
        match self.norm:
            case Norm.LINF:
                return change.abs().amax(dim=1) <= self.levels
            case Norm.L2:
                return (change**2).sum(dim=1) <= self.levels**2
            case Norm.L1:
                return change.abs().sum(dim=1) <= self.levels
            case _:
                assert_never(self.norm)

    def _shortened(self, delta: Tensor) -> Tensor:
        """Whole-level changes ``[N, D]`` near ``delta``, no longer than it and than the radius."""
        size = delta.abs()
        size = torch.where((size - size.round()).abs() < _SNAP, size.round(), size)
        squared = self.norm is Norm.L2

        def measure(change: Tensor) -> Tensor:
            return (change * change if squared else change).sum(dim=1, keepdim=True)

        most = float(self.levels**2 if squared else self.levels)
        budget = (measure(size) + _SNAP).floor().clamp_max(most)
        cut = size.floor()
        # The attack's own float arithmetic may have left the ball by a rounding error: shrink by
        # one level a value, which is ample.
        cut = torch.where(measure(cut) > budget, (cut - 1).clamp_min(0), cut)
        lost, order = (size - cut).sort(dim=1, descending=True, stable=True)
        cost = 2 * cut + 1 if squared else torch.ones_like(cut)  # (n+1)² - n²
        cost = torch.where(lost > 0, cost.gather(1, order), torch.inf)
        affordable = cost.cumsum(dim=1) <= budget - measure(cut)
        raised = torch.zeros_like(cut).scatter(1, order, affordable.to(cut.dtype))
        return delta.sign() * (cut + raised)
