"""What the mathematics does on a GPU: speed, memory, and how far its results lie from a CPU's.

    python3 benchmarks/gpu_check.py            from the repository's root; nothing need be installed
    make gpu-check                             the same, in .venv

Needs torch, numpy, scipy, pyarrow, pillow and safetensors, and neither Ray nor a network: only
`pipeline/` is asked. Some five minutes on one GPU. Without a GPU a tiny version runs on the CPU, to
show that the script works, and its figures say ``unproven on a GPU``.

Prints a line for each section as it ends and one JSON object last; with $OUT set, that goes to
$OUT/gpu_check.json as well, after each section, so that a run that is stopped leaves what it has.

A section that fails is named in ``failed`` with its error, the others run, and the exit code is 1.
"""

import json
import os
import sys
import time
import traceback
import types
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    # In the place of this script's folder, whose modules would hide others of their names.
    sys.path[0] = str(ROOT)
try:
    import pydantic  # noqa: F401
except ImportError:
    # It only checks a config.json that is read from disk, and none is read here.
    stand_in: Any = types.ModuleType("pydantic")
    stand_in.TypeAdapter, stand_in.ValidationError = None, ValueError
    sys.modules["pydantic"] = stand_in

import torch  # noqa: E402

from benchmarks.gpu.attack import attack  # noqa: E402
from benchmarks.gpu.bound import bound  # noqa: E402
from benchmarks.gpu.device import machine  # noqa: E402
from benchmarks.gpu.inputs import FULL, TINY, Sizes  # noqa: E402
from benchmarks.gpu.sampling import sampling  # noqa: E402
from benchmarks.gpu.training import train_compiled, train_repeats, train_throughput  # noqa: E402

Section = Callable[[str, Sizes, torch.device], Iterator[dict[str, Any]]]


def main() -> int:
    """Runs all sections; 1 where one failed."""
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    sizes = FULL if on_gpu else TINY
    torch.set_num_threads(min(8, os.cpu_count() or 1) if on_gpu else 1)
    # The slow ones, torch.compile's, last: a run that is stopped has the rest.
    sections: list[tuple[str, Section, str]] = [
        ("sampling_grey28", sampling, "grey28"),
        ("attack_grey28", attack, "grey28"),
        ("bound_grey28", bound, "grey28"),
        ("train_repeats_grey28", train_repeats, "grey28"),
        ("sampling_colour32", sampling, "colour32"),
        ("attack_colour32", attack, "colour32"),
        ("train_grey28", train_throughput, "grey28"),
        ("train_colour32", train_throughput, "colour32"),
        ("train_compiled_grey28", train_compiled, "grey28"),
        ("train_compiled_colour32", train_compiled, "colour32"),
    ]
    result: dict[str, Any] = {
        "benchmark": "gpu_check",
        "proven": "on a GPU" if on_gpu else "unproven on a GPU: a tiny run on the CPU",
        "machine": machine(device),
        "failed": {},
    }
    start = time.perf_counter()
    for name, section, shape in sections:
        begun = time.perf_counter()
        found: dict[str, Any] = {}
        try:
            for part in section(shape, sizes, device):
                found |= part
                print(f"{name}: {json.dumps(part)}", flush=True)
        except Exception as error:  # the other sections still say something
            traceback.print_exc()
            result["failed"][name] = f"{type(error).__name__}: {error}"
        result[name] = {**found, "section_seconds": time.perf_counter() - begun}
        result["seconds"] = time.perf_counter() - start
        keep(result)
    print(json.dumps(result), flush=True)
    return 1 if result["failed"] else 0


def keep(result: dict[str, Any]) -> None:
    """Leaves what there is so far in $OUT."""
    if out := os.environ.get("OUT"):
        with suppress(OSError):
            Path(out, "gpu_check.json").write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
