"""Turns a user's text into an absolute path, and refuses what is none.

The text is checked before it becomes a `Path`: `Path("s3://bucket/x")` is the relative path
`s3:/bucket/x`, and results would go into a folder `s3:`.
"""

import os
import re
from pathlib import Path, PurePath

# `file:/x` is an address as well; a folder that is really called so can be given as ./NAME:/x.
_ADDRESS = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]+):/")
# Where Ray unpacks what `ray job submit` uploads, below its session's directory on each node.
_RUNTIME_ENVIRONMENT = re.compile(r"/runtime_resources/(working_dir|py_modules)_files(/|$)")


def joins_cluster() -> bool:
    """Whether jobs of this process join a cluster, as `ray_session` decides it."""
    return os.environ.get("RAY_ADDRESS", "local") != "local"


def as_path(value: str | PurePath) -> Path:
    """The absolute path of a text, relative to the directory of the command's start.

    Raises:
        ValueError: it is empty, an address such as s3://bucket/x, names an unknown user's home, or
            other nodes of a cluster would not find the same thing there.
    """
    text = os.fspath(value)
    refuse_address(text)
    if not text.strip() or "\0" in text:
        raise ValueError(f"{text!r} is no path; is a variable of the shell empty?")
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        raise ValueError(f"{text} begins with the home of a user who is unknown here") from None
    absolute = Path(os.path.abspath(path))
    if _RUNTIME_ENVIRONMENT.search(str(absolute)):
        raise ValueError(
            f"{text} lies in Ray's copy of the job's working directory, which goes with the job; "
            "give an absolute path on storage that all nodes share"
        )
    if joins_cluster() and not path.is_absolute():
        raise ValueError(
            f"{text} is relative, and each node of a cluster would look elsewhere; give an "
            "absolute path on storage that all nodes share"
        )
    return absolute


def refuse_address(text: str) -> None:
    """Raises ValueError for an address: a scheme, such as s3: or file:, and a slash."""
    address = _ADDRESS.match(text)
    if address is None:
        return
    if address[1].lower() == "file":
        rest = text[address.end() :].lstrip("/")
        raise ValueError(f"{text} is an address, not a path; write /{rest}")
    raise ValueError(
        f"{text} is an address, not a path; object storage and downloads are not supported yet: "
        "mount it, or copy it to a disk that all nodes share"
    )


def path_or_name(value: str) -> str:
    """A text that is a directory's path, made absolute, or else a name, as it is.

    Raises:
        ValueError: it is empty, an address, or as `as_path` has it.
    """
    if not value.strip():
        raise ValueError(
            f"{value!r} is neither a path nor a name; is a variable of the shell empty?"
        )
    refuse_address(value)
    is_path = os.path.isdir(os.path.expanduser(value)) or value.startswith((".", "~", "/"))
    return str(as_path(value)) if is_path else value
