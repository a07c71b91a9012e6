"""PGD on the device and on the CPU, and what each says of the other's pictures."""

import time
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.device import peak_memory
from benchmarks.gpu.inputs import CLASSES, SHAPES, Sizes, pictures
from benchmarks.gpu.sampling import compared
from pipeline.attacks.base import Norm
from pipeline.attacks.engine.loop import Attacked, attack_rows
from pipeline.attacks.geometry.ball import Ball
from pipeline.attacks.methods.pgd import Pgd
from pipeline.classifier import Classifier
from pipeline.networks.classifier import ClassifierNetwork, ClassifierShape
from pipeline.pictures import from_unit, to_unit
from pipeline.training.classifier import ClassifierRecipe, ClassifierTrainer


def attack(name: str, sizes: Sizes, device: torch.device) -> Iterator[dict[str, Any]]:
    """PGD on the device and on the CPU, and what each says of the other's pictures."""
    shape = SHAPES[name][0]
    images, labels = pictures(shape, sizes.pictures)
    torch.manual_seed(0)
    network = ClassifierNetwork(ClassifierShape(*shape, CLASSES, widths=(16, 32, 64)))
    network.to(device)
    fit = ClassifierTrainer(network, ClassifierRecipe(sizes.learn, 3e-3, 0.05, 0, 0))
    start = time.perf_counter()
    for step in range(sizes.learn):
        rows = np.arange(step * 128, step * 128 + 128) % len(images)
        fit.update(images[rows], labels[rows])
    mean_loss = fit.outcomes().loss
    yield {
        "classifier_loss": mean_loss,
        "classifier_steps_per_second": sizes.learn / (time.perf_counter() - start),
    }
    classes = tuple(str(number) for number in range(CLASSES))
    there = Classifier(network, classes, device=device)
    here = Classifier(deepcopy(network).cpu(), classes)
    chosen = slice(0, sizes.attacked)
    x, y = images[chosen], labels[chosen]
    yield {
        "clean_logits_largest_difference": float(
            np.abs(there.logits_of(x) - here.logits_of(x)).max()
        ),
        "clean_accuracy": float((there.predict(x) == y).mean()),
        "rows_with_another_clean_answer": int((there.predict(x) != here.predict(x)).sum()),
        "share_of_rows_whose_logits_equal_their_solo_bits": float(
            np.mean([
                np.array_equal(there.logits_of(x)[i : i + 1], there.logits_of(x[i : i + 1]))
                for i in range(sizes.alone)
            ])
        ),
    }  # fmt: skip
    for levels in sizes.radii:
        on_cpu, seconds = attacked(here, x, y, levels, 64)
        yield {f"levels_{levels}_cpu": figures_of(on_cpu, seconds)}
        for size in (64, 512) if device.type == "cuda" else (64,):
            with peak_memory(device) as memory:
                on_device, seconds = attacked(there, x, y, levels, size)
            ours, theirs = (from_unit(one.adversarial.cpu()) for one in (on_device, on_cpu))
            other = on_device.broken.cpu() != on_cpu.broken.cpu()
            yield {
                f"levels_{levels}_calls_of_{size}": {
                    **figures_of(on_device, seconds),
                    **memory,
                    "rows_with_another_verdict": int(other.sum()),
                    "pictures_against_cpu": compared(ours, theirs),
                    # What a third party with the other kind of machine finds in stored pictures.
                    "rows_that_the_cpu_judges_otherwise": _judged_otherwise(there, here, ours),
                    "rows_of_the_cpu_judged_otherwise": _judged_otherwise(there, here, theirs),
                }
            }


def _judged_otherwise(there: Classifier, here: Classifier, images: np.ndarray) -> int:
    return int((there.predict(images) != here.predict(images)).sum())


def attacked(
    model: Classifier, x: np.ndarray, y: np.ndarray, levels: int, rows: int
) -> tuple[Attacked, float]:
    """PGD on all rows, and its seconds; a first call warms the device up."""
    pgd = Pgd(Ball(Norm.LINF, levels), steps=20)
    clean = to_unit(x).to(model.device)
    true, numbers = torch.from_numpy(y).to(model.device), torch.arange(len(y), device=model.device)
    attack_rows(pgd, model, clean[:8], true[:8], numbers[:8], rows_per_call=rows)
    start = time.perf_counter()
    found = attack_rows(pgd, model, clean, true, numbers, rows_per_call=rows)
    return found, time.perf_counter() - start


def figures_of(found: Attacked, seconds: float) -> dict[str, Any]:
    """Speed and strength of an attack."""
    passes = int(found.forwards.sum() + found.backwards.sum())
    return {
        "passes_per_second": passes / seconds,
        "passes_per_picture": passes / len(found.broken),
        "robust_accuracy": float((found.clean_right & ~found.broken).float().mean()),
    }
