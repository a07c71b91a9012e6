"""Several attacks in turn, each on the rows that withstood the earlier ones.

Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks", 2020 (arXiv 2003.01690), section 5.
"""

from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from pipeline.attacks.base import Model, Named, StepAttack
from pipeline.attacks.engine.loop import Attacked, attack_rows
from pipeline.attacks.engine.queries import Asker
from pipeline.attacks.trust.audit import Audit


@dataclass(frozen=True)
class AttackedInTurn(Attacked):
    """What came of several attacks on N rows.

    As `Attacked`, and ``step`` and ``restart`` count within the attack that found the picture.
    Passes are those of all attacks together.

    Attributes:
        attack: int64 ``[N]``: which of the attacks found the picture, counted from 0, those of the
            audit after the others; 0 for the clean one as well.
        alarming: bool ``[N]``: whether the audit's alarm broke the row, which withstood all else.
        audited: bool ``[N]``: whether the row withstood the attacks and the alarm, and was drawn
            for the audit.
    """

    attack: Tensor
    alarming: Tensor
    audited: Tensor

    @property
    def overturned(self) -> Tensor:
        """The rows that the audit's attacks alone broke, bool ``[N]``."""
        return self.audited & self.broken


@dataclass(frozen=True)
class Ensemble:
    """Attacks that are tried in turn, each on the rows that withstood those before.

    Attributes:
        attacks: with their names, in the order in which they are tried. One that is equal to one
            before it is passed over.
        audit: what a sample of the rows is given that are not broken in the end.
    """

    attacks: tuple[Named, ...]
    audit: Audit | None = None

    def __post_init__(self) -> None:
        if not self.attacks:
            raise ValueError("there must be at least one attack")

    @property
    def names(self) -> tuple[str, ...]:
        """Of the attacks and then of the audit's."""
        audited = self.audit.named if self.audit else ()
        return tuple(name for name, _ in (*self.attacks, *audited))

    def widened(self) -> "Ensemble":
        """With the audit's alarm for all rows that are not broken."""
        return replace(self, audit=self.audit and replace(self.audit, widened=True))


def attack_in_turn(
    ensemble: Ensemble,
    model: Model,
    x: Tensor,
    y: Tensor,
    rows: Tensor,
    *,
    widen: bool = False,
    seed: int = 0,
    rows_per_call: int = 64,
    capacity: int | None = None,
    logits: Tensor | None = None,
    targets: Tensor | None = None,
) -> AttackedInTurn:
    """Attacks rows with one attack after the other until each is broken or has withstood all.

    A row gets from each attack what it would get from that attack alone, with the same draws. So,
    those are broken that any of the attacks would break alone.
    Attacks that aim at one class after the other are cut to the wrong classes that there are: see
    `for_classes`.

    Args:
        ensemble: the attacks.
        widen: where the audit's alarm breaks one of these rows, it is given to all of them. Only
            for rows that are the whole set: else what comes of a row depends on its company.
        model, x, y, rows, seed, rows_per_call, capacity: see `attack_rows`.
        logits: the model's for ``x``, where they are known; the clean picture's pass counts all
            the same.
        targets: see `attack_rows`.

    Raises:
        ValueError, UserError: as `attack_rows`.
    """
    if rows_per_call < 1:  # `attack_rows` says so too, but the first call comes before it
        raise ValueError(f"rows_per_call must be at least 1, not {rows_per_call}")
    turns = _Turns(
        ensemble,
        model,
        (x, y.to(x.device), rows.to(x.device)),
        {"seed": seed, "rows_per_call": rows_per_call, "capacity": capacity},
        logits,
        targets,
    )
    turns.attack()
    if ensemble.audit:
        turns.audit(ensemble.audit, ensemble.audit.drawn(turns.rows, seed), widen)
    return turns.result()


class _Turns:
    """One call of `attack_in_turn`."""

    def __init__(
        self,
        ensemble: Ensemble,
        model: Model,
        batch: tuple[Tensor, Tensor, Tensor],
        how: dict[str, Any],
        logits: Tensor | None,
        targets: Tensor | None,
    ) -> None:
        self._targets = targets
        self._ensemble, self._model, self._how = ensemble, model, how
        self._x, self._y, self.rows = batch
        num = self._x.shape[0]
        asker = Asker(model, how["rows_per_call"], self._x)
        if logits is None:
            logits = asker.logits(self._x, targets) if num else self._x.new_zeros(0, 2)
        self._logits = logits
        audited = ensemble.audit.named if ensemble.audit else ()
        self._tried = [
            for_classes(attack, self._logits.shape[1])
            for _, attack in (*ensemble.attacks, *audited)
        ]
        first = self._alone(0, torch.arange(num, device=self._x.device))
        self._values = {f.name: getattr(first, f.name) for f in fields(first)}
        self._values["forwards"] = first.forwards + 1  # the clean picture
        self._values["calls"] += asker.calls
        self._values["attack"] = torch.zeros_like(first.step)
        self._values["alarming"] = torch.zeros_like(first.broken)
        self._values["audited"] = torch.zeros_like(first.broken)

    def attack(self) -> None:
        """Tries the ensemble's attacks after the first."""
        for number in range(1, len(self._ensemble.attacks)):
            self._give(number, self._standing())

    def audit(self, audit: Audit, drawn: Tensor, widen: bool) -> None:
        """Runs the dear attacks, then the alarm, on the sampled rows that stand.

        Where the alarm is widened, it runs on all rows.
        """
        drawn = drawn & self._standing()
        first = len(self._ensemble.attacks)
        for number in range(first, first + len(audit.attacks)):
            self._give(number, self._standing() & drawn)
        if audit.alarm:
            alarm, standing = len(self._tried) - 1, self._standing()
            self._give(alarm, standing if audit.widened else standing & drawn)
            if widen and not audit.widened and bool((standing & ~self._standing()).any()):
                self._give(alarm, standing & ~drawn)
            self._values["alarming"] = standing & ~self._standing()
        self._values["audited"] = drawn & ~self._values["alarming"]

    def result(self) -> AttackedInTurn:
        """What has come of all rows."""
        return AttackedInTurn(**self._values)

    def _standing(self) -> Tensor:
        standing: Tensor = self._values["clean_right"] & ~self._values["broken"]
        return standing

    def _alone(self, number: int, at: Tensor) -> Attacked:
        return attack_rows(
            self._tried[number],
            self._model,
            self._x[at],
            self._y[at],
            self.rows[at],
            logits=self._logits[at],
            targets=None if self._targets is None else self._targets[at],
            **self._how,
        )

    def _give(self, number: int, chosen: Tensor) -> None:
        """Has an attack try rows, and keeps what is better."""
        at = chosen.nonzero().flatten()
        # The same attack would draw the same numbers again.
        if self._tried[number] in self._tried[:number] or not len(at):
            return
        attacked, values = self._alone(number, at), self._values
        values["calls"] += attacked.calls
        better = attacked.margin > values["margin"][at]
        for name in ("adversarial", "margin", "broken", "step", "restart"):
            values[name][at[better]] = getattr(attacked, name)[better]
        values["attack"][at[better]] = number
        for name in ("forwards", "backwards"):
            values[name][at] += getattr(attacked, name)


@runtime_checkable
class AimsInTurn(Protocol):
    """An attack each of whose restarts aims at another class."""

    def for_classes(self, classes: int) -> StepAttack:
        """The attack that stands for it where there are so many classes."""


def for_classes(attack: StepAttack, classes: int) -> StepAttack:
    """The attack that stands for this one where there are so many classes."""
    return attack.for_classes(classes) if isinstance(attack, AimsInTurn) else attack
