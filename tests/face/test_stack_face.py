"""`ns.load_stack`: the bytes that the job and the endpoint give, its way there, and the bound."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from small_stack import SPEC, small_stack

import noisestack as ns
from pipeline.chain.schedule import build_schedule, split_layers
from pipeline.formats.shard import images_of
from pipeline.likelihood import estimate_bound
from pipeline.pictures import to_signed
from pipeline.sampling import SamplingOptions, sample, trajectory
from pipeline.sampling.labels import InTurn
from pipeline.sampling.workers import SampleJob, StackWorker
from pipeline.stack import save_stack


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stack") / "model"
    save_stack(small_stack(), {}, path, {})
    return path


@pytest.fixture(scope="module")
def stack(model: Path) -> ns.Stack:
    return ns.load_stack(model)


def pictures(num: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (num, 8, 8, 1), np.uint8)


def test_samples_are_the_bytes_that_the_job_stores_for_the_same_seed_and_index(
    model: Path, stack: ns.Stack, tmp_path: Path
) -> None:
    options = SamplingOptions(sampler="ddim", guidance=2.0, rescale=0.7)
    job = SampleJob(model, tmp_path, 11, InTurn((2, -1, 0)), options)
    StackWorker(job)({"file": "part.parquet", "start": 7, "stop": 18, "num_rows": 11})
    stored = images_of(pq.read_table(tmp_path / "part.parquet"))
    drawn = stack.sample(
        ["two", "<none>", "Zero"],
        seed=11,
        start=7,
        count=11,
        sampler="ddim",
        guidance=2.0,
        guidance_rescale=0.7,
    )
    assert drawn.dtype == np.uint8
    assert np.array_equal(drawn, stored)


@pytest.mark.parametrize(
    "labels",
    [(2, -1, 0), ["two", None, 0], np.array([2, -1, 0]), torch.tensor([2, -1, 0]), ["2", "-", "0"]],
)
def test_labels_are_names_numbers_arrays_or_tensors_and_one_sample_each(
    stack: ns.Stack, labels: object
) -> None:
    due = sample(stack.model, np.full(3, 5), np.arange(3), np.array([2, -1, 0]))
    assert np.array_equal(stack.sample(labels, seed=5), due)  # type: ignore[arg-type]


def test_without_labels_all_classes_come_in_turn_and_one_label_serves_any_number(
    stack: ns.Stack,
) -> None:
    assert np.array_equal(stack.sample(seed=1), stack.sample([0, 1, 2], seed=1))
    assert np.array_equal(stack.sample("one", count=2), stack.sample([1, 1]))
    assert np.array_equal(stack.sample(1, count=2), stack.sample(np.array([1, 1])))
    assert stack.classes == SPEC.classes
    assert stack.shape == (8, 8, 1)


def test_steps_are_shared_among_the_stages_as_the_endpoint_shares_them(stack: ns.Stack) -> None:
    five = stack.sample(0, steps=5)  # the model's own layers, 2 and 3
    assert np.array_equal(five, stack.sample(0))
    assert np.array_equal(five, stack.sample(0, steps=(2, 3)))
    assert np.array_equal(five, stack.sample(np.int64(0), steps=np.int64(5)))  # type: ignore[arg-type]
    assert not np.array_equal(five, stack.sample(0, steps=9))


def test_an_autocast_around_the_call_changes_no_sample(stack: ns.Stack) -> None:
    due = stack.sample(["two", 0], seed=5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert np.array_equal(stack.sample(["two", 0], seed=5), due)
        assert np.array_equal(stack.trajectory(["two", 0], seed=5)[-1].images, due)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"labels": "three"}, "no class 'three'"),
        ({"labels": [0, 3]}, "a label is 3; give a whole number from -1 to 2"),
        ({"labels": [0.5]}, "a label is 0.5; give a whole number"),
        ({"labels": True}, "a label is True"),
        ({"labels": []}, "labels is empty"),
        ({"count": 0}, "count is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**63}, "seed is"),
        ({"start": -1}, "start is -1"),
        ({"steps": 2}, "2 steps: the model has 2 stages, and needs 3 layers at least"),
        ({"steps": (2, 3, 4)}, "layers has 3 numbers"),
        ({"sampler": "euler"}, "unknown sampler 'euler'"),
        ({"guidance": 101}, "guidance 101"),
        ({"threshold": 2}, "threshold 2"),
        ({"threshold": "high"}, "threshold is 'high'; give a number"),
        ({"labels": 1.0}, "a label is 1.0; give a whole number"),
        ({"steps": 5.0}, "steps is 5.0; give a whole number"),
        ({"guidance": [1]}, r"guidance is \[1\]; give a number"),
        ({"guidance_rescale": 1.5}, "guidance_rescale 1.5 is outside 0 to 1"),
        ({"guidance_interval": 5}, "guidance_interval is 5; give its low and its high end"),
        ({"guidance_interval": (0,)}, "guidance_interval is"),
        ({"guidance_interval": ("a", "b")}, "guidance_interval is 'a'; give a number"),
    ],
)
def test_what_the_model_cannot_follow_is_one_line(
    stack: ns.Stack, given: dict[str, object], told: str
) -> None:
    with pytest.raises(ns.UserError, match=told) as caught:
        stack.sample(**given)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_a_class_that_was_never_trained_on_is_refused() -> None:
    stack = ns.Stack(small_stack(untrained=(1,)))
    assert len(stack.sample()) == 2
    with pytest.raises(ns.UserError, match="class one"):
        stack.sample("one")
    with pytest.raises(ns.UserError, match="class one"):
        stack.bits_per_dim(pictures(1), 1)


def test_a_trajectory_leads_through_every_level_to_the_bytes_of_the_sample(
    stack: ns.Stack,
) -> None:
    levels = stack.trajectory([2, 0], seed=3, count=8, steps=6)  # a whole call and a padded one
    assert [level.t for level in levels] == list(range(7))
    assert np.array_equal(levels[-1].images, stack.sample([2, 0], seed=3, count=8, steps=6))
    assert [level.z.shape[1:] for level in (levels[0], levels[-1])] == [(4, 4, 1), (8, 8, 1)]
    sigmas = [level.sigma for level in levels]
    assert sigmas == sorted(sigmas, reverse=True)
    assert sigmas[-1] == 0
    keys = np.full(6, 3), np.arange(6), np.array([2, 0] * 3)
    options = SamplingOptions(layers=stack.model.spec.layers)
    whole = list(trajectory(stack.model, *keys, options))
    ours = stack.trajectory([2, 0], seed=3, count=6)
    for level, z in zip(ours, whole, strict=True):
        assert np.array_equal(level.z, z.movedim(1, -1).detach().numpy())


def test_bits_per_dim_is_the_bound_that_evaluate_averages_and_its_rows_make_up_the_mean(
    stack: ns.Stack,
) -> None:
    x, labels = pictures(5), np.array([0, 1, 2, 0, -1])
    found = stack.bits_per_dim(x, labels, layers=12, seed=4)
    spec = stack.model.spec
    due = estimate_bound(
        stack.model,
        build_schedule(spec.stages, split_layers(spec.stages, 12)),
        to_signed(x),
        torch.from_numpy(labels),
        tau2_after=spec.tau2_after,
        variance=spec.decoder_variance,
        seed=4,
    )
    assert found.mean == due.bits_per_dim
    assert found.standard_error == due.standard_error_bits_per_dim
    assert found.rows.mean() == pytest.approx(found.mean)
    assert found.rows.std(ddof=1) / 5**0.5 == pytest.approx(found.standard_error)
    assert found.prior + found.layers + found.reconstruction == pytest.approx(found.mean)
    # Each row is that picture's own: alone, beside others, and as floats.
    alone = stack.bits_per_dim(x[:1], "zero", layers=12, seed=4)
    assert alone.rows[0] == pytest.approx(found.rows[0], rel=1e-5)
    assert alone.standard_error == np.inf
    changed = x.copy()
    changed[3] = 255 - changed[3]
    other = stack.bits_per_dim(
        torch.from_numpy(changed).movedim(-1, 1).float() / 255, labels, layers=12, seed=4
    )
    same = np.isclose(other.rows, found.rows, rtol=1e-6)
    assert same.tolist() == [True, True, True, False, True]
    assert not np.allclose(stack.bits_per_dim(x, labels, layers=12).rows, found.rows)


@pytest.mark.parametrize(
    ("x", "c", "told"),
    [
        (pictures(2).astype(np.int64), None, "x is int64; give pictures as uint8"),
        (pictures(2)[..., 0], None, r"x has the shape \[2, 8, 8\]"),
        (pictures(2)[:0], None, "x holds no picture"),
        (pictures(2)[:, :4], None, "8 pixels high and 8 wide with 1 channel, as uint8"),
        (np.full((1, 1, 8, 8), 0.5), None, r"x\[0, 0, 0, 0\] is 0.5, between two levels"),
        (np.full((1, 1, 8, 8), np.nan), None, r"x\[0, 0, 0, 0\] is nan; pictures of floats lie"),
        (np.full((1, 1, 8, 8), 1.5), None, "is 1.5; pictures of floats lie"),
        (pictures(3), [0, 1], "c has 2 labels for 3 pictures"),
    ],
)
def test_pictures_without_a_bound_are_refused_in_one_line(
    stack: ns.Stack, x: np.ndarray, c: object, told: str
) -> None:
    with pytest.raises(ns.UserError, match=told):
        stack.bits_per_dim(x, c)  # type: ignore[arg-type]


def test_a_stack_without_error_curves_has_no_bound() -> None:
    with pytest.raises(ns.UserError, match="no error curves"):
        ns.Stack(small_stack(errors=())).bits_per_dim(pictures(1))


def test_a_directory_that_is_no_stack_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ns.UserError):
        ns.load_stack(tmp_path)
    with pytest.raises(ns.UserError, match="s3://bucket/x is an address"):
        ns.load_stack("s3://bucket/x")
