"""Which smaller calls answer bit for bit as the full one does.

When few rows are left, calls padded to the full size are mostly padding: on a model that few steps
break, forty-step PGD spent half its time on it. Whether a smaller call gives a row the same bits
depends on model, machine and library, so it is tried out, on pictures that are the same whatever
rows are attacked: the outcome is a property of the model, and no row's result depends on it.
"""

from collections.abc import Callable, MutableMapping
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from pipeline.attacks.base import Model

# Below 8 rows a call costs nearly as much as one of 8; and with 1 or 2, matrix products on a CPU
# take another way, and another last bit.
_LEAST = 8
_SEED = 0


class RowView:
    """A model whose logits are computed row by row from another model's.

    Which sizes of calls agree is a property of the other model, and is not tried again here.

    Args:
        base: the model that is asked.
        view: from its logits ``[N, K]`` to logits ``[N, ...]``, each row by itself.
    """

    def __init__(self, base: Model, view: Callable[[Tensor], Tensor]) -> None:
        self.base, self._view = base, view

    def __call__(self, x: Tensor) -> Tensor:
        """The view's logits of pictures ``[N, C, H, W]``."""
        return self._view(self.base(x))


_Key = tuple[tuple[int, ...], int, torch.device, int]
_SIZES_OF: MutableMapping[Model, dict[_Key, tuple[int, ...]]] = WeakKeyDictionary()


def smaller_calls(model: Model, x: Tensor, rows_per_call: int) -> tuple[int, ...]:
    """The smaller sizes of calls that give the same bits as a full call, largest first.

    Tried are ``rows_per_call / 2``, ``/ 4`` … down to 8, for logits and gradients by the picture.

    Args:
        model: see `pipeline.attacks`; of a view, its base is tried. One that no weak reference can
            be held to gets no smaller sizes.
        x: pictures ``[N, C, H, W]`` of the shape and on the device that it will be asked about.
        rows_per_call: rows of a full call.

    Returns:
        The sizes; none where any of them answers otherwise, or not at all.
    """
    while isinstance(model, RowView):
        model = model.base
    sizes = _halves(rows_per_call)
    if not sizes:
        return ()
    try:
        sizes_of = _SIZES_OF.setdefault(model, {})
    except TypeError:
        return ()
    key = (tuple(x.shape[1:]), rows_per_call, x.device, torch.get_num_threads())
    if key not in sizes_of:
        sizes_of[key] = sizes if _all_agree(model, x, rows_per_call, sizes) else ()
    return sizes_of[key]


def _halves(rows_per_call: int) -> tuple[int, ...]:
    sizes = []
    while rows_per_call % 2 == 0 and rows_per_call // 2 >= _LEAST:
        rows_per_call //= 2
        sizes.append(rows_per_call)
    return tuple(sizes)


def _all_agree(model: Model, like: Tensor, rows_per_call: int, sizes: tuple[int, ...]) -> bool:
    generator = torch.Generator().manual_seed(_SEED)
    levels = torch.randint(0, 256, (rows_per_call, *like.shape[1:]), generator=generator)
    pictures = levels.to(like) / 255
    try:
        full = _answers(model, pictures)
        for size in sizes:
            # The last rows: their place in the call differs as well.
            part = _answers(model, pictures[-size:])
            if not all(torch.equal(a, b[-size:]) for a, b in zip(part, full, strict=True)):
                return False
    except Exception:  # a user's model may refuse a size in any way it likes
        return False
    return True


def _answers(model: Model, pictures: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        probe = pictures.clone().requires_grad_(True)
        logits = model(probe)
        # Squared, so that the classes' gradients do not cancel.
        (gradient,) = torch.autograd.grad(logits.square().sum(), probe)
    return logits.detach(), gradient
