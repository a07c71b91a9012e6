"""What is made before a set's rows, such as a universal set's one perturbation. No Ray."""

from typing import Any

from pipeline.perturbation.attack import SetAttack
from pipeline.perturbation.workplace import Workplace
from pipeline.precision import full_float32


class Preparer:
    """Makes an attack's file.

    Args:
        attack: one with a `file`.
        place: see `Workplace.opened`.
    """

    def __init__(self, *, attack: SetAttack, **place: Any) -> None:
        self._attack, self._place = attack, Workplace.opened(**place)

    @full_float32()
    def __call__(self, shard: dict[str, Any]) -> dict[str, Any]:
        """The record of the file, whose name is the shard's."""
        return self._attack.make(self._place)
