"""The stack: preconditioning, storing and loading."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_stack import SPEC, small_stack

from pipeline.chain.schedule import Stage
from pipeline.errors import UserError
from pipeline.formats.model import save_model
from pipeline.networks.base import pyramid
from pipeline.stack import Stack, save_stack
from pipeline.stack_spec import ErrorCurve, StackSpec

SIGMA = torch.tensor([0.05, 2.0])


def noisy(side: int) -> torch.Tensor:
    return torch.randn(2, 1, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("network", ["nested", "stage"])
@pytest.mark.parametrize("stage", [0, 1])
def test_an_untrained_stack_gives_the_best_multiple_of_the_noisy_picture(
    network: str, stage: int
) -> None:
    torch.manual_seed(0)
    stack = Stack(replace(SPEC, network=network)).eval()
    z = noisy(SPEC.stages[stage].side)
    s, d = SIGMA[:, None, None, None], SPEC.sigma_data[stage]
    assert torch.equal(stack(stage, z, SIGMA, None), (d**2 / (s**2 + d**2)) * z)


@pytest.mark.parametrize("stage", [0, 1])
def test_the_network_is_preconditioned_as_in_edm_with_each_levels_own_sigma_d(stage: int) -> None:
    stack = small_stack()
    labels = torch.tensor([0, 2])
    z = noisy(SPEC.stages[stage].side)
    s, d = SIGMA[:, None, None, None], SPEC.sigma_data[stage]
    scaled = [
        small / torch.sqrt(s**2 + SPEC.sigma_data[level] ** 2)
        for level, small in enumerate(pyramid(z, stage))
    ]
    raw = stack.network_of(stage)(scaled, torch.log(SIGMA), labels)
    expected = d**2 / (s**2 + d**2) * z + s * d / torch.sqrt(s**2 + d**2) * raw
    torch.testing.assert_close(stack(stage, z, SIGMA, labels), expected)


def test_a_stored_stack_loads_with_its_averaged_weights_bit_for_bit(tmp_path: Path) -> None:
    stack, averages = small_stack(0), small_stack(1)
    errors = tuple(ErrorCurve((-1.0, 0.5), (0.1, 1 / 3)) for _ in SPEC.stages)
    stack.spec = replace(stack.spec, errors=errors)
    sha256 = save_stack(stack, dict(averages.named_parameters()), tmp_path / "m", {"note": "a"})
    loaded = Stack.load(tmp_path / "m")
    assert (loaded.sha256, loaded.name) == (sha256, "m")
    assert loaded.spec == stack.spec
    assert not loaded.training
    for name, value in averages.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    z = noisy(8)
    assert torch.equal(loaded(1, z, SIGMA, None), averages(1, z, SIGMA, None))


def test_a_stacks_identity_is_its_spec_and_weights_and_not_its_card(tmp_path: Path) -> None:
    stack = small_stack(0)
    weights = dict(stack.named_parameters())
    first = save_stack(stack, weights, tmp_path / "a", {"note": "a"})
    assert save_stack(small_stack(0), weights, tmp_path / "b", {"note": "b"}) == first
    other = dict(small_stack(1).named_parameters())
    assert save_stack(stack, other, tmp_path / "c", {}) != first
    guided = small_stack(0, guidance=2.0)
    assert save_stack(guided, weights, tmp_path / "d", {}) != first


@pytest.mark.parametrize("network", ["nested", "stage"])
def test_each_network_is_stored_with_and_without_averaging(tmp_path: Path, network: str) -> None:
    stack = small_stack(network=network)
    save_stack(stack, dict(stack.named_parameters()), tmp_path / "m", {})
    names = {path.name for path in (tmp_path / "m").iterdir()}
    networks = ["nested"] if network == "nested" else ["stage_4", "stage_8"]
    for name in networks:
        assert {f"{name}.safetensors", f"{name}.ema.safetensors"} <= names
    assert Stack.load(tmp_path / "m").spec.network == network


def test_weights_of_another_shape_than_the_config_says_are_refused(tmp_path: Path) -> None:
    stack = small_stack()
    state = stack.networks["nested"].state_dict()
    wider = replace(SPEC, widths=(24, 8)).to_json()
    save_model(tmp_path / "m", kind="stack", config=wider, weights={"nested.ema": state}, card={})
    with pytest.raises(UserError, match=r"the weights of nested do not fit its config\.json"):
        Stack.load(tmp_path / "m")


def test_weights_that_are_missing_are_refused(tmp_path: Path) -> None:
    state = small_stack().networks["nested"].state_dict()
    state.pop("condition.null")
    save_model(
        tmp_path / "m", kind="stack", config=SPEC.to_json(), weights={"nested.ema": state}, card={}
    )
    with pytest.raises(UserError, match=r"condition\.null"):
        Stack.load(tmp_path / "m")


def test_altered_weights_are_refused(tmp_path: Path) -> None:
    stack = small_stack()
    save_stack(stack, dict(stack.named_parameters()), tmp_path / "m", {})
    path = tmp_path / "m" / "nested.ema.safetensors"
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(UserError, match=r"nested\.ema\.safetensors"):
        Stack.load(tmp_path / "m")


def test_a_model_directory_may_be_moved(tmp_path: Path) -> None:
    stack = small_stack()
    sha256 = save_stack(stack, dict(stack.named_parameters()), tmp_path / "m", {})
    shutil.move(tmp_path / "m", tmp_path / "n")
    assert Stack.load(tmp_path / "n").sha256 == sha256


def test_a_spec_survives_json() -> None:
    spec = replace(SPEC, errors=(ErrorCurve((0.1, 0.2), (1e-9, 1 / 3)),))
    assert StackSpec.from_json(json.loads(json.dumps(spec.to_json())), "here") == spec


def test_a_config_without_a_field_names_it() -> None:
    config = SPEC.to_json()
    del config["tau2"]
    with pytest.raises(UserError, match=r"runs/x: config\.json does not describe.*tau2"):
        StackSpec.from_json(config, "runs/x")


def test_the_stored_error_is_interpolated_in_log_sigma() -> None:
    curve = ErrorCurve((0.0, 1.0, 2.0), (0.01, 0.04, 1.0))
    spec = replace(SPEC, errors=(curve, curve))
    for log_sigma, mse in zip(curve.log_sigma, curve.mse, strict=True):
        assert spec.mean_squared_error(0, torch.tensor(log_sigma).exp().item()) == pytest.approx(
            mse
        )
    between = spec.mean_squared_error(0, torch.tensor(0.5).exp().item())
    assert 0.01 < between < 0.04
    assert spec.mean_squared_error(1, 1e-9) == pytest.approx(0.01)
    with pytest.raises(ValueError, match="never measured"):
        replace(SPEC, errors=()).mean_squared_error(0, 1.0)


def test_pictures_that_are_not_square_halve_both_sides() -> None:
    spec = replace(SPEC, shape=(8, 12, 3), stages=(Stage(4, 40.0, 3.0), Stage(8, 3.0, 0.02)))
    assert spec.picture_shape(0) == (3, 4, 6)
    assert spec.picture_shape(1) == (3, 8, 12)
    assert SPEC.tau2_after(0).tolist() == [[0.2], [0.1], [0.05]]
