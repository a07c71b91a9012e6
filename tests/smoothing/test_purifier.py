import numpy as np
import pytest
import torch
from blind_stack import STAGES, blind_stack
from oracles import GaussianStack, sample_moments, standard_error_of_covariance
from small_stack import small_stack
from torch import Tensor, nn

from pipeline.attacks.engine.eot import Expectation
from pipeline.chain.schedule import build_schedule
from pipeline.errors import UserError
from pipeline.sampling.samplers import SAMPLERS
from pipeline.smoothing.bases.opened import staged
from pipeline.smoothing.denoised import StagedDenoiser
from pipeline.smoothing.purifier import PurifiedNetwork, Purifier, PurifierKeys


def purifier_of(num_layers: int, sampler: str = "dpmpp_2m", *, recompute: bool = True) -> Purifier:
    stack = small_stack().requires_grad_(False)
    schedule = build_schedule(stack.spec.stages, (3, 4))
    return Purifier(
        staged(stack),
        schedule,
        SAMPLERS[sampler].build(stack.spec),
        num_layers,
        recompute=recompute,
    )


def pictures(num: int) -> Tensor:
    return torch.rand(num, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def gradient(purifier: Purifier, x: Tensor) -> tuple[Tensor, int]:
    """Of a sum of squares, and the bytes that were kept for it."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.data_ptr()] = tensor.nbytes
        return tensor

    probe = x.clone().requires_grad_(True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = purifier(probe, PurifierKeys.of(1, np.arange(len(x)), 0)).square().sum()
        size = sum(kept.values())
    (found,) = torch.autograd.grad(loss, probe)
    return found, size


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "heun", "ancestral"])
def test_gradients_through_the_whole_purifier_are_exact_whether_kept_or_recomputed(
    sampler: str,
) -> None:
    # 6 layers lie on both sides of the switch of resolution.
    x = pictures(3)
    recomputed, little = gradient(purifier_of(6, sampler), x)
    kept, much = gradient(purifier_of(6, sampler, recompute=False), x)
    assert torch.equal(recomputed, kept)
    assert recomputed.abs().max() > 0
    assert little < much / 10


def test_the_gradient_is_the_difference_quotient() -> None:
    stack = blind_stack()
    purifier = Purifier(
        StagedDenoiser(stack, STAGES, stack.tau2_after),
        build_schedule(STAGES, (2, 4)),
        SAMPLERS["heun"].build(small_stack().spec),
        5,
    )
    keys = PurifierKeys.of(3, np.arange(2), 0)
    x = torch.rand(2, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.autograd.gradcheck(lambda at: purifier(at, keys), x.requires_grad_(True))


def test_a_purified_gaussian_picture_has_the_law_of_the_data() -> None:
    # Down by the exact marginal and up by the exact flow: what was of the data is of it again.
    stack: GaussianStack = blind_stack()
    num = 4000
    purifier = Purifier(
        StagedDenoiser(stack, STAGES, stack.tau2_after),
        build_schedule(STAGES, (20, 40)),
        SAMPLERS["heun"].build(small_stack().spec),
        50,
    )
    x = (stack.data.draw(num, seed=5) + 1) / 2
    pure = purifier(x, PurifierKeys.of(0, np.arange(num), 0))
    assert (pure - x).abs().mean() > 0.1
    mean, covariance = sample_moments(2 * pure - 1)
    error = standard_error_of_covariance(stack.data.covariance, num)
    assert (
        (mean - stack.data.mean).abs() < 5 * stack.data.covariance.diag().sqrt() / num**0.5
    ).all()
    assert ((covariance - stack.data.covariance).abs() < 5 * error + 0.01).all()


def test_a_purification_is_a_function_of_seed_row_and_draw_alone() -> None:
    purifier, x = purifier_of(5, "ancestral"), pictures(4)
    rows = np.array([7, 8, 9, 10])
    together = purifier(x, PurifierKeys.of(2, rows, 3))
    reversed_ = purifier(x.flip(0), PurifierKeys.of(2, rows[::-1].copy(), 3)).flip(0)
    assert torch.equal(together, reversed_)
    for other in (PurifierKeys.of(2, rows, 4), PurifierKeys.of(3, rows, 3)):
        assert not torch.equal(together, purifier(x, other))


def test_a_mean_over_purifications_is_a_function_of_the_picture_with_an_exact_gradient() -> None:
    network = PurifiedNetwork(purifier_of(4), nn.Sequential(nn.Flatten(), nn.Linear(64, 3)))
    network.requires_grad_(False)
    mean, x = Expectation(network, draws=4, seed=0), pictures(2)
    assert torch.equal(mean(x), mean(x))
    assert not torch.equal(mean(x), mean(x + 1e-4))
    probe = x.clone().requires_grad_(True)
    torch.manual_seed(1)
    (slope,) = torch.autograd.grad(network(probe).sum(), probe)
    along = 1e-2 * slope / slope.norm()
    values = []
    for sign in (1, -1):
        torch.manual_seed(1)
        values.append(network(x + sign * along).sum())
    torch.testing.assert_close(values[0] - values[1], 2 * (slope * along).sum(), rtol=0.02, atol=0)


def test_straight_through_answers_alike_and_passes_the_classifiers_own_gradient() -> None:
    purifier, classifier = purifier_of(4), nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    exact, bpda = (
        PurifiedNetwork(purifier, classifier, straight_through=through) for through in (False, True)
    )
    x, keys = pictures(2).requires_grad_(True), PurifierKeys.of(0, np.arange(2), 0)
    torch.testing.assert_close(exact.answers(x, keys), bpda.answers(x, keys))
    (slope,) = torch.autograd.grad(bpda.answers(x, keys)[:, 0].sum(), x)
    own = classifier[1].weight[0].reshape(1, 8, 8)
    torch.testing.assert_close(slope, own.expand(2, 1, 8, 8))
    (through,) = torch.autograd.grad(exact.answers(x, keys)[:, 0].sum(), x)
    assert not torch.allclose(through, slope, rtol=0.1)


def test_more_layers_than_the_chain_has_are_refused() -> None:
    for num_layers in (0, 8):
        with pytest.raises(UserError, match="the stack's chain has 7"):
            purifier_of(num_layers)
    with pytest.raises(UserError, match="1,024 purifications at most"):
        PurifierKeys.of(0, np.arange(2), 1024)
