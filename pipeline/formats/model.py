"""Model directories: `config.json`, one `NAME.safetensors` a network, and last `card.json`.

The content hash, which is the model's identity, covers the config and the weights, but not the rest
of the card (training figures, metrics, versions). Nothing is ever unpickled.
"""

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.formats.output import (
    read_json,
    restore_directory,
    sha256_of_file,
    sha256_of_json,
    swap_directory,
    temporary_sibling,
    write_bytes,
    write_json,
)

CONFIG_FILE = "config.json"
CARD_FILE = "card.json"
_FORMAT = 1
_PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt")
# What torch.save (a zip archive; before 1.6 a bare pickle) and pickle protocols 2 to 5 begin with.
_PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class StoredModel:
    """A model directory whose files all have their recorded hashes.

    Attributes:
        kind: what the model is, for instance "stack" or "classifier".
        config: as given to `save_model`; enough to build the networks.
        card: training figures, metrics, versions, dataset hash.
        sha256: the content hash, the model's identity.
    """

    path: Path
    kind: str
    config: dict[str, Any]
    card: dict[str, Any]
    sha256: str

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the sets of weights, sorted."""
        suffix = ".safetensors"
        return tuple(
            sorted(
                file.removesuffix(suffix) for file in self.card["files"] if file.endswith(suffix)
            )
        )

    def weights(self, name: str) -> dict[str, Tensor]:
        """The tensors of `NAME.safetensors`, on the CPU.

        Raises:
            UserError: the model has no weights of that name.
        """
        if name not in self.names:
            raise UserError(
                f"{self.path} has no weights {name!r}, only {', '.join(self.names)}; "
                "check which model this is"
            )
        return _load(self.path / f"{name}.safetensors")


def save_model(
    path: Path | str,
    *,
    kind: str,
    config: dict[str, Any],
    weights: Mapping[str, Mapping[str, Tensor]],
    card: dict[str, Any],
) -> str:
    """Writes a model directory and returns its content hash.

    The directory is built beside `path` and moved into place by rename; a model that stands there
    already is replaced. An interrupted call leaves it as it was. Tensors may lie on any device and
    are stored contiguous; config and card must be JSON-able without NaN.

    Raises:
        UserError: something other than a model stands at `path`.
    """
    path = Path(path).absolute()
    for name in weights:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not usable as a file name")
    for reserved in ("format", "kind"):
        if reserved in config:
            raise ValueError(f"the config may not have a key {reserved!r}")
    for reserved in ("files", "content_sha256"):
        if reserved in card:
            raise ValueError(f"the card may not have a key {reserved!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    restore_directory(path)
    if path.exists() and not (path / CARD_FILE).is_file() and any(path.glob("*")):
        raise UserError(f"{path} holds something that is not a model; choose another path")
    building = temporary_sibling(path)
    try:
        write_json(building / CONFIG_FILE, {"format": _FORMAT, "kind": kind, **config})
        for name, tensors in weights.items():
            # A tensor that is a view of another would be refused by safetensors: store copies.
            plain = {
                key: value.detach().cpu().clone().contiguous() for key, value in tensors.items()
            }
            write_bytes(building / f"{name}.safetensors", safetensors.torch.save(plain))
        files = {file.name: sha256_of_file(file) for file in sorted(building.iterdir())}
        content = sha256_of_json(files)
        write_json(building / CARD_FILE, {"files": files, "content_sha256": content, **card})
        swap_directory(building, path)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    return content


def open_model(path: Path | str, kind: str) -> StoredModel:
    """Opens a model directory of the given kind and verifies the hash of every file.

    Raises:
        UserError: the directory is missing, half there, of another kind, holds a pickle, or a
            file's hash is not the recorded one.
    """
    path = Path(path).absolute()
    _refuse_pickles(path)
    if not path.is_dir():
        raise UserError(f"there is no model directory {path}; check the path")
    for needed in (CONFIG_FILE, CARD_FILE):
        if not (path / needed).is_file():
            raise UserError(
                f"the model directory {path} is half there: it has no {needed}; "
                "run the training job again, or copy the whole directory"
            )
    card = read_json(path / CARD_FILE)
    files = card.get("files") if isinstance(card, dict) else None
    if not isinstance(files, dict) or not all(
        _NAME.fullmatch(name) and isinstance(value, str) for name, value in files.items()
    ):
        raise UserError(f"{path / CARD_FILE} does not list the model's files; copy the model anew")
    for name in sorted(files):
        if not (path / name).is_file():
            raise UserError(
                f"the model directory {path} is half there: it has no {name}; "
                "copy the whole directory"
            )
        if sha256_of_file(path / name) != files[name]:
            raise UserError(
                f"{path / name} has another hash than {CARD_FILE} records: it was changed or "
                "damaged; copy the model anew or train it again"
            )
    if CONFIG_FILE not in files or card.get("content_sha256") != sha256_of_json(files):
        raise UserError(
            f"the content hash in {path / CARD_FILE} does not match the files it lists: it was "
            "changed by hand; copy the model anew"
        )
    config = read_json(path / CONFIG_FILE)
    if not isinstance(config, dict) or config.pop("format", None) != _FORMAT:
        raise UserError(
            f"{path / CONFIG_FILE} is of an unknown format (this version reads format {_FORMAT}); "
            "train the model again or use the version that wrote it"
        )
    stored_kind = config.pop("kind", None)
    if stored_kind != kind:
        raise UserError(f"{path} holds a {stored_kind}, not a {kind}; give the path of a {kind}")
    return StoredModel(path, kind, config, card, card["content_sha256"])


def load_weights(file: Path | str) -> dict[str, Tensor]:
    """The tensors of a safetensors file that stands by itself, on the CPU.

    Raises:
        UserError: the file is missing, unreadable or a pickle.
    """
    file = Path(file).absolute()
    if not file.is_file():
        raise UserError(f"there is no file {file} with weights; check the path")
    _refuse_pickles(file)
    return _load(file)


def _refuse_pickles(path: Path) -> None:
    files = [path] if path.is_file() else sorted(path.iterdir()) if path.is_dir() else []
    for file in files:
        if file.suffix.lower() in _PICKLES:
            _refuse_pickle(file)
        if file.suffix == ".safetensors":
            with open(file, "rb") as stream:
                # A safetensors file begins with the length of its header in eight bytes, the upper
                # ones zero, and the header is JSON.
                head = stream.read(9)
            if head.startswith(_PICKLE_STARTS) and head[8:9] != b"{":
                _refuse_pickle(file)


def _refuse_pickle(file: Path) -> None:
    raise UserError(
        f"{file} is a pickle, and pickles are refused because loading one can run any code; "
        "store the weights as safetensors"
    )


def _load(file: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(file)
    except (OSError, safetensors.SafetensorError, json.JSONDecodeError) as error:
        raise UserError(
            f"{file} cannot be read as safetensors ({error}); copy the model anew"
        ) from None
