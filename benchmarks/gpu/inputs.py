"""What is measured, and how much of it: synthetic pictures, and the stack of a config for them."""

from dataclasses import dataclass

import numpy as np

from pipeline.conditions import ConditionSpec
from pipeline.stack_spec import StackSpec
from pipeline.training.statistics import measure, stages_for
from pipeline.training.trainer import Recipe
from pipeline.training.weighting import WEIGHTINGS

CLASSES = 10


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        pictures: of each synthetic set.
        seconds: of training that each mode is measured for, after its warm-up.
        warm_up: steps before the clock.
        learn: steps that the stack and the classifier whose results are compared are trained for.
        batches: pictures a training step.
        widths: of the stack, coarsest first.
        calls: rows in a call of the sampler.
        alone: rows that are also sampled by themselves.
        samples: rows compared with the CPU's.
        attacked: rows that are attacked on both.
        bound: pictures, and layers, of the bound.
        layers: in each stage when sampling.
        radii: of the attack's balls, in levels of 1/255.
    """

    pictures: int
    seconds: float
    warm_up: int
    learn: int
    batches: tuple[int, ...]
    widths: tuple[int, ...]
    calls: tuple[int, ...]
    alone: int
    samples: int
    attacked: int
    bound: tuple[int, int]
    layers: int
    radii: tuple[int, ...]


FULL = Sizes(
    pictures=4096, seconds=5.0, warm_up=8, learn=250, batches=(128, 1024), widths=(96, 64, 32),
    calls=(32, 256, 1024), alone=6, samples=64, attacked=512, bound=(64, 64), layers=4,
    radii=(8, 32, 64),
)  # fmt: skip
TINY = Sizes(
    pictures=256, seconds=0.3, warm_up=1, learn=6, batches=(16,), widths=(16, 16, 8), calls=(4, 8),
    alone=3, samples=8, attacked=24, bound=(4, 9), layers=2, radii=(32,),
)  # fmt: skip
SHAPES = {"grey28": ((28, 28, 1), (7, 14, 28)), "colour32": ((32, 32, 3), (8, 16, 32))}


def pictures(shape: tuple[int, int, int], num: int) -> tuple[np.ndarray, np.ndarray]:
    """Labelled waves under noise: a class is a direction and a wavelength. uint8 and int64."""
    generator = np.random.default_rng(0)
    labels = np.arange(num) % CLASSES
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    angle = (np.pi * labels / CLASSES)[:, None, None]
    phase = generator.uniform(0, 2 * np.pi, (num, 1, 1))
    wave = np.sin((0.3 + 0.05 * labels[:, None, None]) * (
        rows * np.sin(angle) + columns * np.cos(angle)
    ) + phase)  # fmt: skip
    tint = generator.uniform(0.5, 1.0, (num, 1, 1, shape[2]))
    noise = 0.1 * generator.standard_normal((num, *shape))
    grey = (wave[..., None] * tint + noise + 1) * 127.5
    return grey.clip(0, 255).round().astype(np.uint8), labels.astype(np.int64)


def spec_for(name: str, images: np.ndarray, sizes: Sizes) -> StackSpec:
    """The stack of configs/fashion_mnist.yaml, for pictures of this shape."""
    shape, sides = SHAPES[name]
    statistics = measure([images[:1024]], sides)
    return StackSpec(
        shape=shape,
        classes=tuple(str(number) for number in range(CLASSES)),
        condition=ConditionSpec("label", CLASSES),
        stages=stages_for(statistics, sigma_max=100.0, sigma_min=0.01),
        sigma_data=statistics.sigma_data,
        tau2=statistics.tau2,
        network="nested",
        widths=sizes.widths,
        blocks=(2, 2, 1),
        embedding=128,
        dropout=0.0,
        rows_per_call=sizes.calls[0],
        layers=(sizes.layers,) * 3,
        sampler="dpmpp_2m",
        guidance=1.5,
    )


def recipe(steps: int, batch: int, *, bf16: bool = False) -> Recipe:
    """As in configs/fashion_mnist.yaml."""
    return Recipe(
        num_steps=steps,
        batch_size=batch,
        stage_share=(1.0, 0.5, 0.25),
        learning_rate=2e-3,
        warmup_steps=10,
        ema_halflife=2_000,
        drop_condition=0.1,
        gradient_clip=1.0,
        weighting=WEIGHTINGS["edm"],
        seed=0,
        bf16=bf16,
    )
