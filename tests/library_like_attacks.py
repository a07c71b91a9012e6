"""Attacks that treat rows which withstand, and the generators, as known libraries do."""

import random
import time

import numpy as np
import torch
from torch import Tensor, nn


def _sign_step(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """A step of eps, and which rows it breaks."""
    probe = x.clone().requires_grad_(True)
    loss = nn.functional.cross_entropy(model(probe), y, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, probe)
    moved = (x + eps * gradient.sign()).clamp(0, 1)
    with torch.no_grad():
        return moved, (model(moved).argmax(dim=1) != y)[:, None, None, None]


def black(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Without a ball: what withstands a small step comes back black."""
    moved, broken = _sign_step(model, x, y, 24 / 255)
    return torch.where(broken, moved, torch.zeros_like(x))


def black_in_ball(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """The same, told a ball."""
    moved, broken = _sign_step(model, x, y, 12 / 255)
    return torch.where(broken, moved, torch.zeros_like(x))


def clean(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """What withstands comes back as it was."""
    moved, broken = _sign_step(model, x, y, eps)
    return torch.where(broken, moved, x)


def nothing(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """The clean pictures, all of them."""
    return x


def last_iterate(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """What withstands comes back moved."""
    return _sign_step(model, x, y, eps)[0]


def nan(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """What withstands comes back as no picture."""
    moved, broken = _sign_step(model, x, y, eps)
    return torch.where(broken, moved, torch.full_like(x, torch.nan))


def random_signs(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """From torch's global generator."""
    return x + eps * torch.randn_like(x).sign()


def own_torch_seed(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """Sets torch's global generator to 0 first."""
    torch.random.manual_seed(0)
    return random_signs(model, x, y, eps)


def own_numpy_seed(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """Sets numpy's global generator to 3 first."""
    np.random.seed(3)  # noqa: NPY002
    noise = np.random.standard_normal(x.shape)  # noqa: NPY002
    return x + eps * torch.from_numpy(noise).float().sign()


def clock_seed(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """Seeds torch from the clock."""
    torch.random.manual_seed(int(time.time()))
    return random_signs(model, x, y, eps)


def private_clock_seed(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """A generator of its own, seeded from the clock in whole seconds."""
    generator = torch.Generator().manual_seed(int(time.time()))
    return x + eps * torch.randn(x.shape, generator=generator).sign()


def own_forked_seed(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """Seeds torch and puts it back."""
    with torch.random.fork_rng():
        return own_torch_seed(model, x, y, eps)


def own_python_seed(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """Sets Python's global generator to 4 first."""
    random.seed(4)
    signs = torch.tensor([random.choice((-1.0, 1.0)) for _ in range(x.numel())])
    return x + eps * signs.reshape(x.shape)
