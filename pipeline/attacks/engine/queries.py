"""How the engine calls the model.

Calls have fixed sizes, each row's passes are counted, and the best picture of each row is kept.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.attacks import losses
from pipeline.attacks.base import Loss, Model
from pipeline.attacks.engine.active import Active
from pipeline.attacks.engine.aim import odds_towards, towards
from pipeline.attacks.engine.call_sizes import smaller_calls
from pipeline.fixed_batch import call_sizes, in_fixed_batches, padded_calls

# Losses that rise and fall with a probability, and so look at all classes.
_OF_ODDS = (losses.log_odds, losses.cross_entropy)
_BACKWARD = 1.25  # of a forward pass, on a small convolutional network
# A row of a call of 64 costs a tenth more than one of 256, and half as much as one of 8.
_WORTH_FILLING = 64
# Of so many pictures of a row in one call a tenth is in vain where every 15th is kept.
_HARDLY_IN_VAIN = 4


class Asker:
    """Calls the model, always with the same number of rows, or with fewer of the same bits.

    Args:
        model: see `pipeline.attacks`.
        rows_per_call: rows of a full call.
        like: pictures ``[N, C, H, W]`` of the shape and on the device that it is asked about.

    Attributes:
        rows_to_fill: rows that a call is filled up to with what may turn out to be in vain.
    """

    def __init__(self, model: Model, rows_per_call: int, like: Tensor) -> None:
        self._model, self._like = model, like[:0]
        self.rows_per_call = rows_per_call
        self.rows_to_fill = min(rows_per_call, _WORTH_FILLING)
        self._smaller: tuple[int, ...] | None = None  # until a call would not be full
        self.calls = 0

    def logits(self, x: Tensor, targets: Tensor | None = None) -> Tensor:
        """The logits of N pictures, ``[N, K]``; with targets those of `aim.towards`, ``[N, 2]``."""
        with torch.no_grad():
            logits = in_fixed_batches(
                self._call,
                x,
                rows_per_call=self.rows_per_call,
                smaller=self._smaller_for(x.shape[0]),
            )
        return logits if targets is None else towards(logits, targets)

    def gradient(
        self, x: Tensor, loss: Loss, *others: Tensor, targets: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, as `logits` gives them, losses, and their gradients by ``x`` alone.

        The losses are summed, not averaged, so a row's gradient does not depend on the batch.
        """
        answers: list[tuple[Tensor, ...]] = []
        aimed = () if targets is None else (targets,)
        with torch.enable_grad():
            for real, (part, *rest) in padded_calls(
                x,
                *aimed,
                *others,
                rows_per_call=self.rows_per_call,
                smaller=self._smaller_for(x.shape[0]),
            ):
                probe = part.detach().requires_grad_(True)
                logits = seen = self._call(probe)
                if aimed:
                    aims, of_all = rest.pop(0), logits
                    logits = seen = towards(of_all, aims)
                    if loss in _OF_ODDS:
                        seen = odds_towards(of_all, aims)
                values = loss(seen, *rest)
                (gradient,) = torch.autograd.grad(values.sum(), probe)
                answers.append((logits.detach()[:real], values.detach()[:real], gradient[:real]))
        logits, values, gradient = (torch.cat(parts) for parts in zip(*answers, strict=True))
        return logits, values, gradient

    def rows_called(self, num_rows: int) -> int:
        """The rows of the calls about so many rows, padding included."""
        return sum(call_sizes(num_rows, self.rows_per_call, self._smaller_for(num_rows)))

    def _smaller_for(self, num_rows: int) -> tuple[int, ...]:
        if self._smaller is None:
            if num_rows % self.rows_per_call == 0:
                return ()
            self._smaller = smaller_calls(self._model, self._like, self.rows_per_call)
        return self._smaller

    def _call(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self._model(x)


class NotedQueries:
    """The `Queries` of the active rows: counts passes and keeps each row's best picture.

    Args:
        asker, active: the model, and the rows.
        score: of margins, pictures and clean ones: what makes one picture better than another.
    """

    def __init__(
        self,
        asker: Asker,
        active: Active,
        score: Callable[[Tensor, Tensor, Tensor], Tensor],
    ) -> None:
        self._asker, self._active, self._score = asker, active, score

    @property
    def ahead(self) -> int:
        num = len(self._active)
        few = min(self._asker.rows_per_call // num, _HARDLY_IN_VAIN)
        return max(1, few, self._asker.rows_to_fill // num)

    def first_above(
        self, x: Tensor, bar: Tensor, *, asked: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        active, (num, several) = self._active, asked.shape
        margin = bar.new_full((num * several,), -torch.inf)
        at = asked.flatten().nonzero().flatten()
        if len(at):
            label = active.label[at // several]
            margin[at] = losses.margin(self._asker.logits(x, self._targets(at // several)), label)
        margin = margin.reshape(num, several)
        above = asked & (margin > bar[:, None])
        is_above = above.any(dim=1)
        last = above.int().argmax(dim=1).where(is_above, several)
        gone_through = torch.arange(several, device=x.device) <= last[:, None]
        active.forwards = active.forwards + (asked & gone_through).sum(dim=1)
        rows = is_above.nonzero().flatten()
        number = last[rows]
        best = x[torch.searchsorted(at, rows * several + number)]
        self._keep(rows, best, margin[rows, number], active.step[rows] + number)
        return rows, number, margin[rows, number], best

    def logits(
        self, x: Tensor, *, asked: Tensor | None = None, record: bool | Tensor = True
    ) -> Tensor:
        if asked is None:
            logits = self._asker.logits(x, self._targets())
        else:
            logits = self._void()
            self._ask_forward(logits, x, asked)
        self._note(x, logits, asked, record)
        return logits

    def gradient(
        self,
        x: Tensor,
        loss: Loss,
        *others: Tensor,
        wanted: Tensor,
        asked: Tensor | None = None,
        record: bool | Tensor = True,
    ) -> tuple[Tensor, Tensor]:
        label = self._active.label
        every = bool(wanted.all())
        if every and asked is None:
            logits, values, gradient = self._asker.gradient(
                x, loss, label, *others, targets=self._targets()
            )
        else:
            asked_for = torch.ones_like(wanted) if asked is None else asked
            with_gradient = self._with_gradient(asked_for, wanted)
            logits, gradient = self._void(), torch.zeros_like(x)
            self._ask_forward(logits, x, asked_for & ~with_gradient)
            values = loss(logits, label, *others)
            chosen = with_gradient.nonzero().flatten()
            if len(chosen):
                logits[chosen], values[chosen], gradient[chosen] = self._asker.gradient(
                    x[chosen],
                    loss,
                    label[chosen],
                    *(other[chosen] for other in others),
                    targets=self._targets(chosen),
                )
            wanted = wanted & asked_for
        self._note(x, logits, asked, record)
        self._active.backwards = self._active.backwards + wanted
        return values, gradient

    def _targets(self, at: Tensor | slice = slice(None)) -> Tensor | None:
        """The targets of the active rows, or of some of them; None where they have none."""
        targets = self._active.target
        return None if targets is None else targets[at]

    def _void(self) -> Tensor:
        """The clean pictures' logits, which are finite, for the rows that are not asked."""
        return self._active.logits.clone()

    def _ask_forward(self, logits: Tensor, x: Tensor, asked: Tensor) -> None:
        """Puts the answers about the chosen rows where they belong."""
        chosen = asked.nonzero().flatten()
        if len(chosen):
            logits[chosen] = self._asker.logits(x[chosen], self._targets(chosen))

    def _with_gradient(self, asked: Tensor, wanted: Tensor) -> Tensor:
        """The rows to ask in calls with a gradient.

        They are those that need one, or all if asking the others apart would cost more.
        """
        wanting, rest = int((asked & wanted).sum()), int((asked & ~wanted).sum())
        if not wanting or not rest:
            return asked & wanted
        rows = self._asker.rows_called
        apart = (1 + _BACKWARD) * rows(wanting) + rows(rest)
        return asked if (1 + _BACKWARD) * rows(wanting + rest) <= apart else asked & wanted

    def _note(self, x: Tensor, logits: Tensor, asked: Tensor | None, record: bool | Tensor) -> None:
        active = self._active
        active.forwards = active.forwards + (1 if asked is None else asked)
        if record is False:
            return
        allowed = torch.ones_like(active.step, dtype=torch.bool)
        for mask in (asked, record):
            if isinstance(mask, Tensor):
                allowed = allowed & mask
        margin = losses.margin(logits, active.label)
        rows: Tensor | slice = slice(None)
        if not bool(allowed.all()):
            rows = allowed.nonzero().flatten()
        self._keep(rows, x[rows], margin[rows], active.step[rows])

    def _keep(self, rows: Tensor | slice, x: Tensor, margin: Tensor, step: Tensor) -> None:
        """Keeps those of some rows' pictures that are better than what the rows have."""
        active = self._active
        score = self._score(margin, x, active.clean[rows])
        better = score > active.score[rows]
        new = {
            "best": x,
            "score": score,
            "margin": margin,
            "found_step": step,
            "found_restart": active.restart[rows],
        }
        at = torch.arange(len(active.score), device=x.device)[rows][better]
        for name, values in new.items():
            setattr(active, name, getattr(active, name).index_copy(0, at, values[better]))
