"""An attack that ends otherwise again, or sets the generators itself, is found out; ours stay."""

import random
import time

import numpy as np
import pytest
import torch
from attack_driver import conv_network, lattice_pictures

from pipeline.attacks.base import Norm
from pipeline.attacks.methods.own import AttackedByOther, OwnAttack, attack_with
from pipeline.attacks.trust.repeatability import Repeat

MODEL, X = conv_network(), lattice_pictures(7, seed=4)
with torch.no_grad():
    Y = MODEL(X).argmax(dim=1)


def attacked(name: str, seed: int = 0, *, repeat_first: bool = True) -> AttackedByOther:
    own = OwnAttack(f"library_like_attacks:{name}", Norm.LINF, 8, seed)
    rows = torch.arange(7)
    return attack_with(own, MODEL, X, Y, rows, rows_per_call=4, repeat_first=repeat_first)


def states() -> tuple[object, ...]:
    numpy = np.random.get_state()  # noqa: NPY002
    return torch.get_rng_state().tolist(), numpy[1].tolist(), numpy[2], random.getstate()


@pytest.mark.parametrize(
    ("name", "repeat"),
    [
        ("last_iterate", Repeat(4, 0, ())),
        ("random_signs", Repeat(4, 0, ())),
        ("own_torch_seed", Repeat(4, 0, ("torch",))),
        ("own_forked_seed", Repeat(4, 0, ("torch",))),
        ("own_numpy_seed", Repeat(4, 0, ("numpy",))),
        ("own_python_seed", Repeat(4, 0, ("random",))),
        ("clock_seed", Repeat(4, 4, ("torch",))),
        ("private_clock_seed", Repeat(4, 4, ())),
    ],
)
def test_the_first_batch_again_shows_what_a_seed_decides(name: str, repeat: Repeat) -> None:
    torch.manual_seed(5)
    before = states()
    found = attacked(name)
    assert states() == before
    assert found.repeat == repeat
    # The second time counts for no row.
    assert torch.equal(found.forwards, attacked(name, repeat_first=False).forwards)
    if not repeat.differing:
        # What `reseeded` says is so: a generator that the attack sets itself heeds no seed.
        heeds = name == "random_signs"
        other = attacked(name, seed=1, repeat_first=False)
        assert torch.equal(found.adversarial, other.adversarial) != heeds


def test_a_batch_is_tried_twice_only_where_it_is_asked_for() -> None:
    started = time.time()
    assert attacked("clock_seed", repeat_first=False).repeat is None
    assert time.time() - started < 1


def test_a_clock_that_is_read_late_in_the_first_call_is_read_in_another_second_by_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The clock passes to a new second between the first call's start and its reading."""
    clock = iter([11.01, *[11.02] * 2, *[12.0] * 9])
    slept: list[float] = []
    monkeypatch.setattr(time, "time", lambda: next(clock))
    monkeypatch.setattr(time, "sleep", slept.append)
    found = attacked("clock_seed")
    assert found.repeat == Repeat(4, 4, ("torch",))
    assert slept == [pytest.approx(0.98)]


def test_the_generators_are_put_back_where_an_attack_raises() -> None:
    before = states()
    with pytest.raises(Exception, match="not finite numbers for 1 of 4 rows, first row 1"):
        attacked("nan")
    assert states() == before
