"""The check of a GPU: its sections on the CPU, where both sides are one and must agree."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.gpu.attack import attack
from benchmarks.gpu.bound import bound
from benchmarks.gpu.inputs import TINY, pictures
from benchmarks.gpu.sampling import compared, sampling
from benchmarks.gpu.training import train_repeats, train_throughput

CPU = torch.device("cpu")
LEAST = replace(
    TINY, pictures=64, seconds=0.0, learn=1, batches=(4,), widths=(8, 8, 8), calls=(2,), alone=1,
    samples=2, attacked=4, bound=(2, 9),
)  # fmt: skip


def all_of(section):
    found = {}
    for part in section("grey28", LEAST, CPU):
        found |= part
    return found


def test_the_distance_between_pictures_counts_rows_pixels_and_levels():
    a = np.zeros((2, 2, 2, 1), np.uint8)
    b = a.copy()
    b[1, 0, 0] = 3
    assert compared(a, b) == {
        "share_of_equal_rows": 0.5,
        "share_of_pixels_that_differ": 0.125,
        "largest_difference_levels": 3,
        "mean_difference_levels": 0.375,
    }


def test_synthetic_pictures_use_the_range_and_have_all_classes():
    images, labels = pictures((8, 8, 3), 20)
    assert images.dtype == np.uint8
    assert images.min() < 20
    assert images.max() > 235
    assert set(labels) == set(range(10))


def test_on_a_cpu_samples_equal_their_solo_run_and_the_other_side():
    found = all_of(sampling)
    equal = [
        found["against_itself_again"],
        found["calls_of_2"]["against_solo"],
        *(found[f"{name}_against_cpu"] for name in ("dpmpp_2m", "ddpm", "ddim", "heun")),
    ]
    assert [one["share_of_equal_rows"] for one in equal] == [1.0] * 6


def test_on_a_cpu_an_attack_and_the_bound_give_the_other_sides_figures():
    found = all_of(attack)
    attacked = found["levels_32_calls_of_64"]
    assert attacked["rows_with_another_verdict"] == 0
    assert attacked["pictures_against_cpu"]["share_of_equal_rows"] == 1.0
    assert all_of(bound)["minus_cpu_bits_per_dim"] == 0


def test_training_repeats_and_every_mode_is_timed():
    assert all_of(train_repeats) == {"equal_weights": True, "largest_difference": 0.0}
    modes = all_of(train_throughput)
    assert set(modes) == {"float32_batch_4", "bf16_batch_4", "bf16_channels_last_batch_4"}
    assert all(mode["steps_per_second"] > 0 for mode in modes.values())


@pytest.mark.slow
def test_the_script_starts_from_its_path_without_ray_and_without_pydantic():
    code = (
        "import runpy, sys; sys.modules['ray'] = sys.modules['pydantic'] = None; "
        "sys.argv = ['benchmarks/gpu_check.py']; sys.path[0] = 'benchmarks'; "
        "import types; runpy.run_path('benchmarks/gpu_check.py', run_name='gpu_check')"
    )
    root = Path(__file__).resolve().parents[2]
    environment = {"PYTHONPATH": str(root), "PATH": "", "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, check=True)
