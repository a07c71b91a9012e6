"""What a type checker sees of `import noisestack as ns`: `make check` runs mypy on this file too.

Nothing here is run.
"""

from pathlib import Path
from typing import Any, assert_type

import numpy as np
from torch import Tensor, nn

import noisestack as ns


def sampled(path: Path) -> None:
    stack = ns.load_stack(path)
    assert_type(stack, ns.Stack)
    assert_type(stack.sample(["one", 2], seed=7, steps=20), np.ndarray)
    assert_type(stack.trajectory("one"), list[ns.Level])
    bits = stack.bits_per_dim(np.zeros((2, 8, 8, 1), np.uint8), [0, 1])
    assert_type(bits, ns.BitsPerDim)
    assert_type(bits.mean, float)
    assert_type(stack.classes, tuple[str, ...])


def asked(path: Path, module: nn.Module, x: np.ndarray, tensor: Tensor) -> None:
    classifier = ns.load_classifier(path)
    assert_type(classifier, ns.Classifier)
    assert_type(classifier(x), np.ndarray)
    assert_type(classifier(tensor), Tensor)
    assert_type(classifier.accuracy(x, [1, 2]), ns.Rate)
    ns.load_classifier(module, classes=["a", "b"], shape=(8, 8, 1))


def attacked(module: nn.Module, x: np.ndarray, y: Tensor) -> None:
    found = ns.attack(module, x, y, "pgd", eps="8/255", seed=1)
    assert_type(found, ns.AttackResult)
    assert_type(found.success, np.ndarray)
    assert_type(found.x_adv, Tensor)
    assert_type(found.robust_accuracy.interval, tuple[float, float])
    assert_type(ns.attacks, tuple[str, ...])


def read(path: Path) -> None:
    data = ns.open_dataset(path, "test")
    assert_type(data, ns.Dataset)
    assert_type(data.arrays(0, 10), dict[str, np.ndarray])
    assert_type(len(ns.open_samples(path)), int)
    assert_type(ns.open_perturbations(path).robust_accuracy, ns.Rate)
    assert_type(ns.open_certificates(path).certified_accuracy(0.25), ns.Rate)


def run(path: Path) -> None:
    assert_type(ns.jobs.generate(model=path, output="samples", count=10), Path)
    assert_type(ns.jobs.evaluate({"samples": path}), dict[str, Any])
    try:
        ns.jobs.verify(path)
    except ns.UserError as error:
        assert_type(str(error), str)
