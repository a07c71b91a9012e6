"""A stack sampled stage by stage, each stage by a stack that holds no other: the same bits."""

from pathlib import Path

import numpy as np
import pytest
import torch
from small_stack import SPEC, small_stack

from pipeline.chain.schedule import Stage
from pipeline.pictures import from_signed
from pipeline.sampling import SAMPLERS, SamplingOptions, sample, sample_stage
from pipeline.stack import Stack, save_stack

THREE = {
    "shape": (16, 16, 1),
    "stages": (Stage(4, 40.0, 3.0), Stage(8, 3.0, 0.5), Stage(16, 0.5, 0.02)),
    "sigma_data": (1.3, 0.7, 0.5),
    "tau2": (*SPEC.tau2, ((0.1,), (0.05,), (0.02,))),
    "widths": (16, 8, 8),
    "blocks": (1, 1, 1),
    "layers": (2, 3, 3),
    "errors": (SPEC.errors[0], *SPEC.errors),
}
SEEDS = np.array([3, 3, -1, 2**40, 3, 3, 8, 3, 3])
INDICES = np.array([0, 1, 2, 2**33, 1, 5, 0, 7, 8])
LABELS = np.array([0, 1, -1, 2, 1, 0, 1, 2, -1])


def store(path: Path, network: str) -> Path:
    save_stack(small_stack(network=network, **THREE), {}, path, {})
    return path


@pytest.mark.parametrize("network", ["nested", "stage"])
@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_stages_climbed_apart_give_the_bits_of_sample(
    tmp_path: Path, network: str, sampler: str
) -> None:
    model = store(tmp_path / "model", network)
    options = SamplingOptions(sampler=sampler, threshold=0.99)
    expected = sample(Stack.load(model), SEEDS, INDICES, LABELS, options)
    z = None
    for stage, side in enumerate((8, 16, 16)):
        alone = Stack.load(model, stages=[stage])
        z = sample_stage(alone, stage, z, SEEDS, INDICES, LABELS, options)
        assert (z.dtype, z.shape) == (np.float32, (9, 1, side, side))
    assert z is not None
    assert np.array_equal(from_signed(torch.from_numpy(z)), expected)


@pytest.mark.parametrize("network", ["nested", "stage"])
def test_rows_may_be_cut_anew_between_two_stages(network: str) -> None:
    stack = small_stack(network=network)
    z = sample_stage(stack, 0, None, SEEDS, INDICES, LABELS)
    whole = sample_stage(stack, 1, z, SEEDS, INDICES, LABELS)
    for rows in (slice(0, 2), slice(2, 9), slice(8, 9)):
        part = sample_stage(stack, 1, z[rows], SEEDS[rows], INDICES[rows], LABELS[rows])
        assert np.array_equal(part, whole[rows])


def test_a_stages_stack_holds_only_what_its_stage_runs_through(tmp_path: Path) -> None:
    """``stage``: its own network; ``nested``: the levels up to its own, and one head."""
    apart = Stack.load(store(tmp_path / "a", "stage"), stages=[1])
    assert list(apart.networks) == ["stage_8"]
    nested = store(tmp_path / "b", "nested")
    sizes = [
        sum(p.numel() for p in Stack.load(nested, stages=held).parameters())
        for held in ([0], [1], [2], [0, 1, 2])
    ]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) == 4
    (inner,) = Stack.load(nested, stages=[1]).networks.values()
    assert list(inner.get_submodule("heads")._modules) == ["1"]
    assert len(inner.get_submodule("levels")._modules) == 2
