"""Exact answers on Gaussian data ``x ~ N(mu, Sigma)``, all in float64 and without Monte Carlo.

The low-pass of Gaussian data is Gaussian, so a stack of resolutions has a closed form too. At
noise level sigma the exact denoiser is linear, ``x_hat = mu + Sigma (Sigma + sigma^2 I)^-1 (z -
mu)``, and everything that a sampler, a bound or a loss should come to follows from it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from pipeline.chain.schedule import Layer, Schedule


def haar_matrices(shape: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """``L`` ``[D/4, D]`` and ``H`` ``[3 D/4, D]`` on flattened ``[C, h, w]`` pictures, by hand.

    The rows of ``H`` are laid out as ``[3, C, h/2, w/2]``: horizontal, vertical, diagonal.
    """
    channels, height, width = shape
    low = torch.zeros(channels, height // 2, width // 2, *shape, dtype=torch.float64)
    high = torch.zeros(3, *low.shape, dtype=torch.float64)
    for c in range(channels):
        for i in range(height // 2):
            for j in range(width // 2):
                for down in (0, 1):
                    for right in (0, 1):
                        at = (c, i, j, c, 2 * i + down, 2 * j + right)
                        low[at] = 0.5
                        high[(0, *at)] = -0.5 if right else 0.5
                        high[(1, *at)] = -0.5 if down else 0.5
                        high[(2, *at)] = 0.5 if right == down else -0.5
    size = math.prod(shape)
    return low.reshape(-1, size), high.reshape(-1, size)


def covariance_matrix(eigenvalues: Sequence[float], seed: int) -> Tensor:
    """A covariance with these eigenvalues along random directions."""
    generator = torch.Generator().manual_seed(seed)
    size = len(eigenvalues)
    random = torch.randn(size, size, generator=generator, dtype=torch.float64)
    directions, _ = torch.linalg.qr(random)
    values = torch.tensor(eigenvalues, dtype=torch.float64)
    return directions @ torch.diag(values) @ directions.T


def gaussian_density(x: Tensor, mean: Tensor, variance: float) -> Tensor:
    """``-log N(x; mean, variance I)`` of real-valued pictures ``[N, ...]``, nats, ``[N]``."""
    squares = (x - mean).square().flatten(1).sum(dim=1) / variance
    return 0.5 * (squares + x[0].numel() * math.log(2 * math.pi * variance))


@dataclass(frozen=True)
class Gaussian:
    """``N(mean, covariance)`` over pictures of ``shape`` ``(C, h, w)``."""

    shape: tuple[int, int, int]
    mean: Tensor  # [D]
    covariance: Tensor  # [D, D]

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @cached_property
    def _eigen(self) -> tuple[Tensor, Tensor]:
        values, vectors = torch.linalg.eigh(self.covariance)
        return values.clamp_min(0), vectors

    @property
    def eigenvalues(self) -> Tensor:
        return self._eigen[0]

    def low_passed(self) -> "Gaussian":
        """The distribution of ``L x``."""
        low, _ = haar_matrices(self.shape)
        channels, height, width = self.shape
        return Gaussian(
            (channels, height // 2, width // 2), low @ self.mean, low @ self.covariance @ low.T
        )

    def detail_power(self) -> Tensor:
        """``E (H x)^2``, each band's and channel's mean over its pixels, ``[3, C]``."""
        _, high = haar_matrices(self.shape)
        power = (high @ self.covariance @ high.T).diagonal() + (high @ self.mean) ** 2
        return power.reshape(3, self.shape[0], -1).mean(dim=2)

    def draw(self, num: int, seed: int) -> Tensor:
        """``[num, C, h, w]``."""
        generator = torch.Generator().manual_seed(seed)
        values, vectors = self._eigen
        normal = torch.randn(num, self.size, generator=generator, dtype=torch.float64)
        return (self.mean + (normal * values.sqrt()) @ vectors.T).reshape(num, *self.shape)

    def denoise(self, z: Tensor, sigma: Tensor) -> Tensor:
        """``E[x | z]`` at noise levels sigma ``[N]``."""
        values, vectors = self._eigen
        gain = values / (values + sigma.double()[:, None] ** 2)
        centred = (z.flatten(1).double() - self.mean) @ vectors
        return (self.mean + (centred * gain) @ vectors.T).reshape(z.shape).to(z)

    def gain(self, sigma: float) -> Tensor:
        """``Sigma (Sigma + sigma^2 I)^-1``, ``[D, D]``."""
        values, vectors = self._eigen
        return vectors @ torch.diag(values / (values + sigma**2)) @ vectors.T

    def mean_squared_error(self, sigma: float) -> float:
        """Of the exact denoiser, per coefficient: ``lambda s^2 / (lambda + s^2)`` on average."""
        values = self.eigenvalues
        return float((values * sigma**2 / (values + sigma**2)).mean())

    def entropy(self) -> float:
        """``E[-log p(x)]``, nats."""
        return float(0.5 * (math.e * 2 * math.pi * self.eigenvalues).log().sum())

    def negative_log_density(self, x: Tensor) -> Tensor:
        """``-log p(x)``, nats, ``[N]``."""
        distribution = torch.distributions.MultivariateNormal(self.mean, self.covariance)
        density: Tensor = -distribution.log_prob(x.flatten(1).double())
        return density

    def flow(self, z: Tensor, sigma_from: float, sigma_to: float) -> Tensor:
        """The probability flow's exact solution from one noise level to another.

        ``dz/ds = (z - x_hat)/s`` separates along the covariance's directions into
        ``z(s) = mu + sqrt((lambda + s^2) / (lambda + s_0^2)) (z(s_0) - mu)``.
        """
        values, vectors = self._eigen
        stretch = ((values + sigma_to**2) / (values + sigma_from**2)).sqrt()
        centred = (z.flatten(1) - self.mean) @ vectors
        return (self.mean + (centred * stretch) @ vectors.T).reshape(z.shape)


def with_blind_details(low: Gaussian, tau2: Tensor) -> Gaussian:
    """The picture one resolution finer for which the stack is exact.

    At a resolution change the decoder draws the detail bands with mean 0 and variance
    ``sigma^2 + tau^2``, not knowing the low band. That is their true law exactly when the data's
    own details have mean 0 and variance tau^2 and do not depend on the low band:
    ``Sigma = L^T S L + H^T tau^2 H``. On any other data it is the stack's one approximation.

    Args:
        tau2: ``[3, C]``.
    """
    channels, height, width = low.shape
    shape = (channels, 2 * height, 2 * width)
    down, high = haar_matrices(shape)
    variances = tau2[:, :, None].expand(3, channels, height * width).reshape(-1)
    covariance = down.T @ low.covariance @ down + high.T @ torch.diag(variances) @ high
    return Gaussian(shape, down.T @ low.mean, covariance)


@dataclass(frozen=True)
class GaussianStack:
    """The exact denoisers of Gaussian data at each stage's resolution: a `Denoiser`."""

    stages: tuple[Gaussian, ...]  # coarsest first

    @staticmethod
    def of(data: Gaussian, num_stages: int) -> "GaussianStack":
        stages = [data]
        while len(stages) < num_stages:
            stages.insert(0, stages[0].low_passed())
        return GaussianStack(tuple(stages))

    @property
    def data(self) -> Gaussian:
        return self.stages[-1]

    def __call__(self, stage: int, z: Tensor, sigma: Tensor, condition: Tensor | None) -> Tensor:
        return self.stages[stage].denoise(z, sigma)

    def picture_shape(self, stage: int) -> tuple[int, int, int]:
        return self.stages[stage].shape

    def tau2_after(self, stage: int) -> Tensor:
        return self.stages[stage + 1].detail_power()

    def tuned(self, layer: Layer) -> float:
        """The decoder variance of least bound: the law of total variance, written out anew."""
        rho = layer.sigma_to**2 / layer.sigma_from**2
        error = self.stages[layer.stage].mean_squared_error(layer.sigma_from)
        return self.posterior(layer) + (1 - rho) ** 2 * error

    def expected_bound(
        self, schedule: Schedule, variance: Callable[[Layer], float]
    ) -> tuple[float, list[float], float]:
        """Prior, layers 1 ... T - 1 and reconstruction of the bound, in expectation over the data.

        Every term is quadratic in the data, so its expectation needs second moments alone. The
        reconstruction is of real-valued pictures (`gaussian_density`).
        """
        first = self.stages[0]
        power = float(first.covariance.trace() + first.mean @ first.mean)
        prior = power / (2 * schedule.sigmas[0] ** 2)
        layers = []
        reconstruction = math.nan
        for layer in schedule.layers:
            here = self.stages[layer.stage]
            v, size = variance(layer), here.size
            error = here.mean_squared_error(layer.sigma_from)
            if layer.sigma_to == 0:
                reconstruction = size / 2 * (error / v + math.log(2 * math.pi * v))
                continue
            rho = layer.sigma_to**2 / layer.sigma_from**2
            posterior = layer.sigma_to**2 * (1 - rho)
            ratio = posterior / v
            term = size / 2 * (ratio - 1 - math.log(ratio) + (1 - rho) ** 2 * error / v)
            if layer.changes_resolution:
                power_of_bands = self.tau2_after(layer.stage)  # [3, C]
                blind = layer.sigma_to**2 + power_of_bands
                share = layer.sigma_to**2 / blind
                per_pixel = share - 1 - share.log() + power_of_bands / blind
                term += size // self.data.shape[0] / 2 * float(per_pixel.sum())
            layers.append(term)
        return prior, layers, reconstruction

    def posterior(self, layer: Layer) -> float:
        """The variance of ``q(z_t | z_{t-1}, x)``, written out anew."""
        return layer.sigma_to**2 * (1 - layer.sigma_to**2 / layer.sigma_from**2)

    def ancestral_moments(
        self, schedule: Schedule, variance: Callable[[Layer], float]
    ) -> tuple[Tensor, Tensor]:
        """Mean ``[D]`` and covariance ``[D, D]`` of what the ancestral chain draws in T layers.

        Each layer is linear with Gaussian noise, so moments go from layer to layer exactly.
        """
        size = self.stages[0].size
        mean = torch.zeros(size, dtype=torch.float64)
        covariance = schedule.sigmas[0] ** 2 * torch.eye(size, dtype=torch.float64)
        for layer in schedule.layers:
            here = self.stages[layer.stage]
            identity = torch.eye(here.size, dtype=torch.float64)
            rho = layer.sigma_to**2 / layer.sigma_from**2
            gain = here.gain(layer.sigma_from)
            step = (1 - rho) * gain + rho * identity
            mean = step @ mean + (1 - rho) * (identity - gain) @ here.mean
            covariance = step @ covariance @ step.T + variance(layer) * identity
            if layer.changes_resolution:
                shape = self.stages[layer.stage + 1].shape
                low, high = haar_matrices(shape)
                bands = layer.sigma_to**2 + self.tau2_after(layer.stage)
                pixels = high.shape[0] // bands.numel()
                variances = bands.reshape(-1).repeat_interleave(pixels)
                mean = low.T @ mean
                covariance = low.T @ covariance @ low + high.T @ torch.diag(variances) @ high
        return mean, covariance


def standard_error_of_covariance(covariance: Tensor, num: int) -> Tensor:
    """Of each entry of a sample covariance of ``num`` Gaussian draws, ``[D, D]``."""
    variances = covariance.diagonal()
    return ((variances[:, None] * variances + covariance**2) / num).sqrt()


def sample_moments(samples: Tensor) -> tuple[Tensor, Tensor]:
    """Mean ``[D]`` and covariance ``[D, D]`` of ``[N, ...]``."""
    flat = samples.flatten(1).double()
    return flat.mean(dim=0), flat.T.cov()


@dataclass(frozen=True)
class GaussianClasses:
    """Classes each of which is Gaussian: a `Denoiser` of which the condition is the class's number.

    Without a condition it denoises for the mixture of all classes, equally frequent.
    """

    stacks: tuple[GaussianStack, ...]

    def __call__(self, stage: int, z: Tensor, sigma: Tensor, condition: Tensor | None) -> Tensor:
        each = torch.stack([stack(stage, z, sigma, None) for stack in self.stacks])  # [K, N, ...]
        if condition is None:
            level = float(sigma[0])
            fit = torch.stack([noisy(s.stages[stage], z, level) for s in self.stacks])
            weights = fit.neg().softmax(dim=0).to(z)
            return (weights[:, :, None, None, None] * each).sum(dim=0)
        return each[condition, torch.arange(len(z))]

    def nats(self, y: Tensor, level: float) -> Tensor:
        """``-log p(y | c)`` of noisy pictures, ``[N, K]``: Bayes' rule takes the least of them."""
        return torch.stack([noisy(stack.data, y, level) for stack in self.stacks], dim=1)


def noisy(data: Gaussian, y: Tensor, level: float) -> Tensor:
    """``-log p(y)``, nats ``[N]``, where y has noise of this level."""
    more = level**2 * torch.eye(data.size, dtype=torch.float64)
    return Gaussian(data.shape, data.mean, data.covariance + more).negative_log_density(y)


@dataclass(frozen=True)
class GaussianJoint:
    """``(c, x)`` jointly Gaussian: a `Denoiser` of vectors x ``[N, D, 1, 1]`` given c ``[N, K]``.

    ``x | c ~ N(offset + slope c, rest)``, which is the regression of x on c and its residual.
    """

    mean: Tensor  # [K + D], c first
    covariance: Tensor  # [K + D, K + D]
    num_conditions: int  # K

    @cached_property
    def slope(self) -> Tensor:
        """``[D, K]``."""
        k = self.num_conditions
        return torch.linalg.solve(self.covariance[:k, :k], self.covariance[:k, k:]).T

    @cached_property
    def offset(self) -> Tensor:
        k = self.num_conditions
        return self.mean[k:] - self.slope @ self.mean[:k]

    @cached_property
    def rest(self) -> Gaussian:
        """What c does not tell of x: of mean 0, ``[D, D]``."""
        k = self.num_conditions
        left = self.covariance[k:, k:] - self.slope @ self.covariance[:k, k:]
        return Gaussian((len(left), 1, 1), torch.zeros(len(left)).double(), (left + left.T) / 2)

    @property
    def marginal(self) -> Gaussian:
        """Of x, whatever c is."""
        k = self.num_conditions
        own = self.covariance[k:, k:]
        return Gaussian((len(own), 1, 1), self.mean[k:], own)

    def expected(self, c: Tensor) -> Tensor:
        """``E[x | c]``, ``[N, D]``."""
        return self.offset + c.double() @ self.slope.T

    def draw(self, num: int, seed: int) -> tuple[Tensor, Tensor]:
        """c ``[num, K]`` and x ``[num, D, 1, 1]``."""
        k = self.num_conditions
        both = Gaussian((len(self.mean), 1, 1), self.mean, self.covariance).draw(num, seed)
        return both[:, :k, 0, 0], both[:, k:]

    def __call__(self, stage: int, z: Tensor, sigma: Tensor, condition: Tensor | None) -> Tensor:
        if condition is None:
            return self.marginal.denoise(z, sigma)
        expected = self.expected(condition)[:, :, None, None].to(z)
        return expected + self.rest.denoise(z - expected, sigma)


def regression(c: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Offset ``[D]``, slope ``[D, K]`` and residual covariance ``[D, D]`` of rows of x on c."""
    with_one = torch.cat((torch.ones(len(c), 1).double(), c.double()), dim=1)
    solution = torch.linalg.lstsq(with_one, x.double()).solution
    left = x.double() - with_one @ solution
    return solution[0], solution[1:].T, left.T @ left / (len(c) - with_one.shape[1])
