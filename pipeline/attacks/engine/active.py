"""The rows that the engine has in work, and what they have come to so far."""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from pipeline.attacks.base import Rows


@dataclass
class Active:
    """N rows, each at one of its restarts.

    Attributes:
        clean, label, logits, row, restart, step: see `Rows`.
        target: int64 ``[N]``, the classes to be answered, by which the rows are judged; None for
            any wrong answer.
        index: int64 ``[N]``, their places among all rows of the call.
        best: ``[N, C, H, W]``, the best pictures that were asked about.
        score: float64 ``[N]``, of the best pictures; see `NotedQueries`.
        margin: ``[N]``, of the best pictures.
        found_step, found_restart: int64 ``[N]``, when these were asked about.
        forwards, backwards: int64 ``[N]``, passes of these restarts.
    """

    clean: Tensor
    label: Tensor
    logits: Tensor
    row: Tensor
    restart: Tensor
    step: Tensor
    target: Tensor | None
    index: Tensor
    best: Tensor
    score: Tensor
    margin: Tensor
    found_step: Tensor
    found_restart: Tensor
    forwards: Tensor
    backwards: Tensor

    @classmethod
    def at_clean(
        cls,
        x: Tensor,
        label: Tensor,
        row: Tensor,
        logits: Tensor,
        target: Tensor | None,
        margin: Tensor,
        score: Tensor,
    ) -> "Active":
        """Rows before their first step, whose best pictures are the clean ones."""
        nothing = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        return cls(
            clean=x,
            label=label,
            logits=logits,
            row=row,
            restart=nothing,
            step=nothing,
            target=target,
            index=torch.arange(len(x), device=x.device),
            best=x,
            score=score,
            margin=margin,
            found_step=nothing,
            found_restart=nothing,
            forwards=nothing,
            backwards=nothing,
        )

    def __len__(self) -> int:
        return len(self.index)

    def pick(self, chosen: Tensor) -> "Active":
        """Those of the rows, by bool ``[N]`` or places int64 ``[M]``."""
        return replace(self, **{name: values[chosen] for name, values in self._tensors().items()})

    def join(self, others: "Active") -> "Active":
        """These rows, and then others."""
        more = others._tensors()
        joined = {name: torch.cat((own, more[name])) for name, own in self._tensors().items()}
        return replace(self, **joined)

    def view(self, seed: int) -> Rows:
        """What an attack sees of them."""
        return Rows(self.clean, self.label, self.logits, self.row, self.restart, self.step, seed)

    def _tensors(self) -> dict[str, Tensor]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}
