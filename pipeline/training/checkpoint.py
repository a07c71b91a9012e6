"""Training checkpoints: one safetensors file a step, complete or absent, newest first.

Checkpoints are found by listing the directory, not by a record elsewhere. So a worker that Ray
restarted and a command that is run again both resume from the newest one. Of several workers the
first one chooses and the others load its choice: on a network file system each might see another
checkpoint as the newest.
"""

import hashlib
import re
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import safetensors
import safetensors.torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.formats.output import write_bytes

CHECKPOINTS = "checkpoints"  # their folder in a run's directory
DAMAGED = ".damaged"  # ending of one that was set aside
_NAME = re.compile(r"step-(\d{9})\.safetensors")
_CHOICES = 3  # a host that was cut off may remove what the first worker chose
_PATIENCE_SECONDS = 20.0  # in which a network file system shows what another host wrote


class Ranks(Protocol):
    """One worker's view of all workers of a run.

    Attributes:
        rank: this worker's number.
    """

    rank: int

    def from_first(self, value: Any) -> Any:
        """The value that the worker of rank 0 passed; those of the others are ignored."""

    def of_all(self, value: Any) -> list[Any]:
        """The values that all workers passed, in the order of their ranks."""


class _Checkpoint(NamedTuple):
    step: int
    sha256: str
    tensors: dict[str, Tensor]


def save_checkpoint(
    directory: Path, step: int, tensors: Mapping[str, Tensor], *, keep: int = 2
) -> Path:
    """Write the state after ``step`` steps, then remove all but the newest ``keep`` checkpoints."""
    path = _path(directory, step)
    plain = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, safetensors.torch.save(plain))
    files = _checkpoints(directory)
    for old in sorted(files)[:-keep]:
        files[old].unlink(missing_ok=True)
    return path


def newest_checkpoint(directory: Path) -> tuple[int, dict[str, Tensor]] | None:
    """The steps taken and the state of the newest whole checkpoint, on the CPU; None without one.

    Raises:
        UserError: there are checkpoints, but none can be read.
    """
    newest, _ = _newest_whole(directory)
    return None if newest is None else (newest.step, newest.tensors)


def last_checkpoint(output: Path, num_steps: int) -> dict[str, Tensor]:
    """The state that a run ended with after its last step.

    Args:
        output: the run's directory.
        num_steps: the number of its last step.

    Raises:
        UserError: it has no whole checkpoint of that step.
    """
    newest = newest_checkpoint(output / CHECKPOINTS)
    if newest is None or newest[0] != num_steps:
        raise UserError(
            f"{output} has no whole checkpoint of step {num_steps:,}, its last; the same command "
            "makes it again from the one before"
        )
    return newest[1]


def resume_together(directory: Path, ranks: Ranks) -> tuple[int, dict[str, Tensor]] | None:
    """`newest_checkpoint` for all workers, which call it together and get the same one.

    Rank 0 chooses a checkpoint and renames damaged ones, so that their names end in ``.damaged``.
    The other ranks load a file of the same step and content.

    Raises:
        UserError: on all ranks; no checkpoint can be read, or a rank does not see rank 0's choice.
    """
    problems: list[str] = []
    for _ in range(_CHOICES):
        checkpoint, problem = None, None
        if ranks.rank == 0:
            try:
                checkpoint, damaged = _newest_whole(directory)
                for path in damaged:
                    path.rename(path.with_name(path.name + DAMAGED))
            except UserError as error:
                problem = str(error)
        chosen, problem = ranks.from_first((checkpoint and checkpoint[:2], problem))
        if problem:
            raise UserError(problem)
        if chosen is None:
            return None
        if ranks.rank != 0:
            checkpoint, problem = _load_exactly(directory, *chosen, rank=ranks.rank)
        problems = [text for text in ranks.of_all(problem) if text]
        if checkpoint is not None and not problems:
            return checkpoint.step, checkpoint.tensors
    raise UserError(problems[0])


def newest_step(directory: Path) -> int:
    """The steps taken at the newest whole checkpoint; 0 without one. Reads only heads of files."""
    files = _checkpoints(directory)
    return next((step for step in sorted(files, reverse=True) if _is_whole(files[step])), 0)


def steps_done(output: Path) -> int:
    """The steps taken in a run's directory; where each stage is a run, the most of any."""
    folders = [output / CHECKPOINTS, *output.glob(f"*/{CHECKPOINTS}")]
    return max(map(newest_step, folders))


def damaged_checkpoints(directory: Path) -> list[Path]:
    """The checkpoints that were renamed because they could not be read."""
    return sorted(directory.glob(f"step-*{DAMAGED}"))


def _newest_whole(directory: Path) -> tuple[_Checkpoint | None, list[Path]]:
    """The newest checkpoint that can be read, and the newer ones that cannot."""
    files = _checkpoints(directory)
    damaged: list[Path] = []
    reason: Exception | None = None
    for step in sorted(files, reverse=True):
        try:
            return _read(files[step], step), damaged
        except (OSError, safetensors.SafetensorError) as error:
            damaged.append(files[step])
            reason = error
    if damaged:
        raise UserError(
            f"the checkpoint {damaged[-1]} cannot be read ({reason}), nor any other there; delete "
            "them to begin anew"
        )
    return None, []


def _load_exactly(
    directory: Path, step: int, sha256: str, *, rank: int
) -> tuple[_Checkpoint | None, str | None]:
    """The checkpoint of a step and a content, or what is wrong with it here."""
    path = _path(directory, step)
    began = time.monotonic()
    while True:
        try:
            checkpoint = _read(path, step)
            if checkpoint.sha256 == sha256:
                return checkpoint, None
            problem = "has another content"
        except (OSError, safetensors.SafetensorError) as error:
            problem = f"cannot be read ({error})"
        if time.monotonic() - began > _PATIENCE_SECONDS:
            return None, (
                f"the checkpoint {path}, which worker 0 goes on from, {problem} for worker {rank} "
                f"on {socket.gethostname()}; is it on storage that all nodes share?"
            )
        time.sleep(min(1.0, _PATIENCE_SECONDS))


def _read(path: Path, step: int) -> _Checkpoint:
    content = path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    return _Checkpoint(step, sha256, safetensors.torch.load(content))


def _is_whole(path: Path) -> bool:
    """Whether a file is as long as its head says."""
    try:
        with safetensors.safe_open(path, framework="pt"):
            return True
    except (OSError, safetensors.SafetensorError):
        return False


def _path(directory: Path, step: int) -> Path:
    return directory / f"step-{step:09d}.safetensors"


def _checkpoints(directory: Path) -> dict[int, Path]:
    if not directory.is_dir():
        return {}
    matches = ((_NAME.fullmatch(path.name), path) for path in directory.iterdir())
    return {int(match[1]): path for match, path in matches if match}
