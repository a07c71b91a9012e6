"""Ours on a model of RobustBench's zoo: torch modules from pictures in [0, 1] to logits.

`load_model` gives such a module: a network behind the mean and deviation of its data. Its weights
are downloads, and the package imports torchvision, which PyPI does not have for torch's CPU build:
so the network is made by RobustBench's own two files with random weights, and the labels are what
it answers. Every attack is judged twice: by what `ns.attack` says, and by asking the bare module
about the pictures that it returned; a difference ends the benchmark.
"""

import importlib.util
import sys
import types
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import noisestack as ns
from benchmarks.common import Stopwatch, read_options, report

ROWS, QUICK_ROWS = 64, 8
EPS = "8/255"
ATTACKS: dict[str, dict[str, Any]] = {
    "pgd": {"steps": 10},
    "apgd_ce": {"steps": 10},
    "square": {"steps": 50},
}
_MEAN, _DEVIATION = (0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)


def zoo_model(depth: int = 10, widen_factor: int = 1) -> nn.Module:
    """A wide residual network as RobustBench's zoo has it, with random weights, in evaluation mode.

    Raises:
        ModuleNotFoundError: robustbench is not installed.
    """
    spec = importlib.util.find_spec("robustbench")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("No module named 'robustbench'", name="robustbench")
    place = Path(spec.submodule_search_locations[0]) / "model_zoo/architectures"
    package = types.ModuleType("robustbench_architectures")
    package.__path__ = [str(place)]
    sys.modules[package.__name__] = package  # theirs would import all that the zoo needs
    torch.manual_seed(0)
    network = import_module(f"{package.__name__}.wide_resnet").WideResNet(
        depth, num_classes=10, widen_factor=widen_factor
    )
    shared = import_module(f"{package.__name__}.utils_architectures")
    model: nn.Module = shared.normalize_model(network, _MEAN, _DEVIATION)
    return model.eval()


def attacked(model: nn.Module, x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """The share of rows that each attack leaves standing, and seconds a row.

    Args:
        x, y: uint8 ``[N, H, W, C]`` and int64 ``[N]``.

    Raises:
        RuntimeError: the module answers other than the result says.
    """
    found: dict[str, float] = {}
    for name, how in ATTACKS.items():
        watch = Stopwatch()
        result = ns.attack(model, x, y, name, eps=EPS, **how)
        seconds = watch.spent().cpu_seconds / len(x)
        with torch.no_grad():
            answers = model(result.x_adv).argmax(dim=1).numpy()
        change = np.abs(result.adversarial.astype(int) - x).max() / 255
        if (answers[result.success] == y[result.success]).any() or change > result.eps + 1e-9:
            raise RuntimeError(f"{name}: the module does not answer as the result says")
        found |= {
            f"{name}_robust_percent": 100 * result.robust_accuracy.value,
            f"{name}_seconds_a_row": seconds,
        }
    return found


def main() -> None:
    """Runs the attacks and prints the figures as one line, the last."""
    options = read_options(__doc__)
    rows = QUICK_ROWS if options.quick else ROWS
    model = zoo_model()
    x = np.random.default_rng(0).integers(0, 256, (rows, 32, 32, 3), np.uint8)
    with torch.no_grad():
        pictures = torch.from_numpy(x).movedim(-1, 1).float() / 255
        y = model(pictures).argmax(dim=1).numpy()
    report("robustbench_fit", {"rows": rows, **attacked(model, x, y)}, options=options, targets={})


if __name__ == "__main__":
    main()
