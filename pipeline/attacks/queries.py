"""How the engine asks the model: always about as many rows, with each row's passes counted and the
best picture of each row kept."""

from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.attacks import losses
from pipeline.attacks.base import Loss, Model, State, per_row
from pipeline.fixed_batch import in_fixed_batches, padded_calls


class Asker:
    """Calls the model, always with the same number of rows."""

    def __init__(self, model: Model, rows_per_call: int) -> None:
        self._model, self._rows_per_call = model, rows_per_call
        self.calls = 0

    def logits(self, x: Tensor) -> Tensor:
        """The logits of N pictures, ``[N, K]``."""
        with torch.no_grad():
            return in_fixed_batches(self._call, x, rows_per_call=self._rows_per_call)

    def gradient(self, x: Tensor, loss: Loss, *others: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, losses, and their gradients by ``x`` alone.

        The losses are summed, not averaged, so a row's gradient does not depend on the batch.
        """
        found: list[tuple[Tensor, ...]] = []
        with torch.enable_grad():
            for real, (part, *rest) in padded_calls(x, *others, rows_per_call=self._rows_per_call):
                probe = part.detach().requires_grad_(True)
                logits = self._call(probe)
                values = loss(logits, *rest)
                (gradient,) = torch.autograd.grad(values.sum(), probe)
                found.append((logits.detach()[:real], values.detach()[:real], gradient[:real]))
        logits, values, gradient = (torch.cat(parts) for parts in zip(*found, strict=True))
        return logits, values, gradient

    def _call(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self._model(x)


class NotedQueries:
    """The `Queries` of the active rows: counts passes and keeps each row's best picture."""

    def __init__(
        self, asker: Asker, active: State, score: Callable[[Tensor, Tensor, Tensor], Tensor]
    ) -> None:
        self._asker, self._active, self._score = asker, active, score

    def logits(self, x: Tensor, *, record: bool = True) -> Tensor:
        logits = self._asker.logits(x)
        self._note(x, logits, record)
        return logits

    def gradient(
        self, x: Tensor, loss: Loss, *others: Tensor, wanted: Tensor, record: bool = True
    ) -> tuple[Tensor, Tensor]:
        active = self._active
        if bool(wanted.any()):
            logits, values, gradient = self._asker.gradient(x, loss, active["label"], *others)
        else:
            logits = self._asker.logits(x)
            values, gradient = loss(logits, active["label"], *others), torch.zeros_like(x)
        self._note(x, logits, record)
        active["backwards"] = active["backwards"] + wanted
        return values, gradient

    def _note(self, x: Tensor, logits: Tensor, record: bool) -> None:
        active = self._active
        active["forwards"] = active["forwards"] + 1
        if not record:
            return
        margin = losses.margin(logits, active["label"])
        score = self._score(margin, x, active["clean"])
        better = score > active["score"]
        active["best"] = torch.where(per_row(better), x, active["best"])
        for name, values in (
            ("score", score),
            ("margin", margin),
            ("found_step", active["step"]),
            ("found_restart", active["restart"]),
        ):
            active[name] = torch.where(better, values, active[name])
