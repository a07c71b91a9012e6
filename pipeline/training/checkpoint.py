"""Training checkpoints: one safetensors file a step, complete or absent, newest first.

A checkpoint is found by looking, not by a record elsewhere, so a worker that Ray restarted and a
command that was given again both go on from the newest one.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.formats.output import write_bytes

_NAME = re.compile(r"step-(\d{9})\.safetensors")


def save_checkpoint(
    directory: Path, step: int, tensors: Mapping[str, Tensor], *, keep: int = 2
) -> Path:
    """Write the state after ``step`` steps, then remove all but the newest ``keep`` checkpoints."""
    path = directory / f"step-{step:09d}.safetensors"
    plain = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, safetensors.torch.save(plain))
    found = _checkpoints(directory)
    for old in sorted(found)[:-keep]:
        found[old].unlink(missing_ok=True)
    return path


def newest_checkpoint(directory: Path) -> tuple[int, dict[str, Tensor]] | None:
    """The steps taken and the state of the newest checkpoint, on the CPU; None without one.

    Raises:
        UserError: the file is damaged.
    """
    found = _checkpoints(directory)
    if not found:
        return None
    step = max(found)
    try:
        return step, safetensors.torch.load_file(found[step])
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(
            f"the checkpoint {found[step]} cannot be read ({error}); delete it to go on from the "
            "one before"
        ) from None


def newest_step(directory: Path) -> int:
    """The steps taken at the newest checkpoint, which is not read; 0 without one."""
    return max(_checkpoints(directory), default=0)


def with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin so, under the rest of their names."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _checkpoints(directory: Path) -> dict[int, Path]:
    if not directory.is_dir():
        return {}
    matches = ((_NAME.fullmatch(path.name), path) for path in directory.iterdir())
    return {int(match[1]): path for match, path in matches if match}
