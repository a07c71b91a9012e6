"""Wraps a user's module as a classifier: unwraps, casts and checks it in one place.

`UserModule` takes float32 pictures and returns float32 logits ``[N, K]``, whichever type the module
computes in and in whichever container it returns its logits. Where that cannot be done, it raises
an error of one line.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.importable import error_line

_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel)


class UserModule(nn.Module):
    """float32 ``[N, C, H, W]`` in [0, 1] to float32 logits ``[N, K]``, by a user's module.

    Args:
        module: the user's module, in any mode and on any device.
        num_classes: K; 0 where that is not known as yet.
        what: the module's name in messages.
        pictures: of one call, float32 ``[N, C, H, W]``. A module whose weights are not float32 is
            called with them, to find out which type it takes.

    Attributes:
        module: the user's module without wrappers that spread or compile it.

    Raises:
        UserError: the module cannot be frozen.
    """

    def __init__(self, module: nn.Module, num_classes: int, *, what: str, pictures: Tensor) -> None:
        super().__init__()
        self._what, self._num_classes = what, num_classes
        self.module = unwrapped(module)
        try:
            _freeze(self.module)
        except Exception as error:  # layers without a size as yet, or without data
            raise UserError(
                f"{what} cannot be put in evaluation mode ({error_line(error)})"
            ) from None
        self._takes = _accepted_type(self.module, pictures)
        self.training = False

    def forward(self, x: Tensor) -> Tensor:
        converted = x.to(self._takes)
        watched = not torch.compiler.is_compiling() and not converted.is_inference()
        before = converted._version if watched else 0
        answer = self.module(converted)
        if watched and converted._version != before:
            raise UserError(
                f"{self._what} changes the pictures that it is given in place; write "
                "x = x - mean where it has x -= mean"
            )
        logits = self._logits_in(answer, x.shape[0])
        if logits.is_inference() and not torch.is_inference_mode_enabled():
            logits = logits.clone()  # nothing may be done to the other kind
        # Whole numbers stay what they are: the check of the model refuses them by name.
        return logits.to(x.device, torch.float32 if logits.is_floating_point() else logits.dtype)

    def train(self, mode: bool = True) -> "UserModule":
        """Does nothing: the user's module stays in evaluation mode."""
        return self

    def _logits_in(self, answer: Any, num_rows: int) -> Tensor:
        """The logits in a module's answer.

        That is the answer itself, its attribute or key ``logits``, or its only tensor ``[N, K]``.
        """
        if isinstance(answer, Tensor):
            return answer
        named = answer.get("logits") if isinstance(answer, Mapping) else None
        named = getattr(answer, "logits", None) if named is None else named
        if isinstance(named, Tensor):
            return named
        parts = answer if isinstance(answer, tuple | list) else []
        fitting = [
            part
            for part in parts
            if isinstance(part, Tensor)
            and part.ndim == 2
            and part.shape == (num_rows, self._num_classes or part.shape[1])
        ]
        if len(fitting) == 1:
            return fitting[0]
        due = self._num_classes or "K"
        more = f" with {len(fitting)} tensors [N, {due}]" if len(parts) else ""
        raise UserError(
            f"{self._what} returns a {type(answer).__name__}{more}, not a tensor of logits; wrap "
            "it so that forward gives the logits alone"
        )


def unwrapped(module: nn.Module) -> nn.Module:
    """A module without wrappers that spread its calls over devices or compile them.

    It computes the same function, in calls of the sizes that it gets here.
    """
    while True:
        inner = module.module if isinstance(module, _WRAPPERS) else None
        inner = getattr(module, "_orig_mod", None) if inner is None else inner  # torch.compile's
        if not isinstance(inner, nn.Module):
            break
        module = inner
    for part in module.modules():
        if getattr(part, "_compiled_call_impl", None) is not None:  # by its own method `compile`
            part._compiled_call_impl = None
    return module


def layers_in_training(network: nn.Module) -> tuple[str, ...]:
    """The names of layers in training mode that behave differently in it, also in TorchScript."""
    kinds = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._NormBase)
    return tuple(
        name
        for name, part in network.named_modules()
        if getattr(part, "training", False)
        and (
            isinstance(part, kinds)
            or getattr(part, "original_name", "").startswith(("Dropout", "BatchNorm", "InstanceN"))
        )
    )


def _freeze(module: nn.Module) -> None:
    # What torch.export gives refuses: its mode is the one that it was exported in.
    with suppress(NotImplementedError):
        module.eval()
    for parameter in module.parameters():  # TorchScript has no requires_grad_ of a module
        parameter.requires_grad_(False)


def _accepted_type(module: nn.Module, pictures: Tensor) -> torch.dtype:
    """The type of pictures that a module takes: float32 if it can, else that of its weights."""
    types = {p.dtype for p in (*module.parameters(), *module.buffers()) if p.is_floating_point()}
    others = types - {torch.float32}
    if not others:
        return torch.float32
    for dtype in (torch.float32, *sorted(others, key=str)):
        try:
            with torch.no_grad():
                module(pictures.to(dtype))
        except Exception:  # a module may raise anything for a type that it does not take
            continue
        return dtype
    return torch.float32
