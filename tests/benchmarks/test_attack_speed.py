"""What the benchmarks of attacks make of the outcomes that they are given, and that each library's
attack is what it is said to be."""

from dataclasses import replace
from functools import partial

import pytest
import torch

for library in ("adv_lib", "foolbox", "pyautoattack", "torchattacks"):
    pytest.importorskip(library, reason="only `make bench` installs the libraries")

from benchmarks.actors import figures  # noqa: E402
from benchmarks.attack_speed import (  # noqa: E402
    PEERS,
    Outcome,
    ensemble_figures,
    of_ours,
    of_peer,
    our_pgd,
    pgd_figures,
    right_rows,
    targeted_figures,
)
from benchmarks.attack_strength import behind, median_length  # noqa: E402
from benchmarks.classifiers import subjects  # noqa: E402
from benchmarks.common import Options  # noqa: E402
from benchmarks.generate_throughput import JobTimes  # noqa: E402


def outcome(seconds: float, *standing: int) -> Outcome:
    flags = torch.tensor(standing, dtype=torch.bool)
    return Outcome(seconds, flags, flags)


def test_ratios_are_the_fastest_librarys_median_over_ours() -> None:
    sides = {
        "ours": [outcome(s, 1, 0, 0, 0) for s in (2.0, 1.0, 9.0)],
        "torchattacks": [outcome(s, 0, 0, 0, 0) for s in (12.0, 11.0, 10.0)],
        "foolbox": [outcome(s, 1, 0, 0, 0) for s in (8.0, 8.0, 90.0)],
        "adv_lib": [outcome(s, 1, 1, 0, 0) for s in (20.0, 7.0, 20.0)],
    }
    found = pgd_figures("natural", sides)
    assert found["ratio_pgd_natural"] == 4.0
    assert found["best_pgd_natural"] == "foolbox"
    assert found["points_apart_pgd_natural"] == 0.0
    assert found["torchattacks_pgd_natural_standing_percent"] == 0.0
    assert found["ours_pgd_natural_cpu_seconds"] == 2.0


def test_targeted_figures_are_named_as_such() -> None:
    sides = {side: [outcome(s, 0)] for side, s in (("ours", 1.0), *((p, 6.0) for p in PEERS))}
    found = targeted_figures("natural", sides)
    assert found["ratio_targeted_natural"] == 6.0
    assert not any("pgd" in key for key in found)


def test_all_sides_take_the_same_pictures_to_their_targets(tmp_path) -> None:
    """In a ball in which every digit can be taken to any class."""
    subject = subjects(Options(quick=True, repeats=1), tmp_path)["natural"]
    task = replace(right_rows(subject, subject.task(0, 12)), levels=200)
    assert len(task.y) > 3
    assert not (task.targets == task.y).any()
    ours = of_ours(task, partial(our_pgd, subject))
    assert not ours.standing.any()
    for name, peer in PEERS.items():
        theirs = of_peer(subject, task, partial(peer, steps=40, step_size=20 / 255))
        assert not theirs.standing.any(), name


def test_a_picture_that_autoattack_alone_breaks_is_counted_against_ours() -> None:
    sides = {
        "standard": [outcome(10.0, 1, 0, 0, 1, 0)],
        "fast": [outcome(4.0, 1, 1, 0, 1, 0)],
        "pyautoattack": [outcome(20.0, 0, 1, 0, 1, 0)],
    }
    found = ensemble_figures("trained", sides)
    assert (found["ratio_autoattack_trained"], found["ratio_fast_trained"]) == (2.0, 5.0)
    assert found["weaker_verdicts_trained"] == 1
    assert found["points_apart_fast_trained"] == pytest.approx(20.0)


def test_behind_counts_the_pictures_that_the_peer_leaves_fewer() -> None:
    ours, peer = torch.tensor([True, True, False, False]), torch.tensor([False, True, False, False])
    assert behind(ours, peer) == 25.0
    assert behind(peer, ours) == -25.0


def test_the_median_length_is_of_the_chosen_pictures_alone() -> None:
    clean = torch.zeros(4, 1, 1, 2)
    x = torch.tensor([[3.0, 4.0], [6.0, 8.0], [0.0, 1.0], [30.0, 40.0]]).reshape(4, 1, 1, 2)
    assert median_length(x, clean, torch.tensor([True, True, True, False])) == 5.0


def test_two_actors_are_compared_by_medians() -> None:
    jobs = {
        "one": [JobTimes(speed, 3.0, 1.0) for speed in (10.0, 11.0, 50.0)],
        "two": [JobTimes(speed, 4.0, 1.0) for speed in (22.0, 20.9, 3.0)],
    }
    assert figures(jobs)["ratio_two_actors"] == pytest.approx(1.9)
