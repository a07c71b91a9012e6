"""A user's ``module:function``: imports it, and identifies it by its source file."""

import hashlib
import importlib
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.errors import UserError

_SPEC = re.compile(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*):([^\W\d]\w*)")


def is_importable(text: str) -> bool:
    """Whether a text has the form ``module:function`` or ``package.module:function``."""
    return _SPEC.fullmatch(text) is not None


def import_function(spec: str) -> Callable[..., Any]:
    """The function that ``module:function`` names.

    Raises:
        UserError: the module cannot be imported here, or holds no such function.
    """
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise UserError(f"{spec} is not written as module:function, for example mine.nets:build")
    module_name, name = match.groups()
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        # Its own module, and not one that it imports in its turn.
        if isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(
            f"{error.name}."
        ):
            raise UserError(
                f"the module {module_name} of {spec} is not found; set PYTHONPATH to the folder "
                "that holds it, on every node (`ray job submit --working-dir` brings it along)"
            ) from None
        raise UserError(f"importing {module_name} of {spec} raised {error_line(error)}") from None
    function = getattr(module, name, None)
    if not callable(function):
        raise UserError(f"the module {module_name} has no function {name}; check {spec}")
    return function  # type: ignore[no-any-return]


def source_sha256(function: Callable[..., Any]) -> str:
    """The SHA-256 of the file that a function stands in; empty where there is none."""
    try:
        file = inspect.getsourcefile(inspect.unwrap(function))
    except TypeError:
        return ""
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""


def error_line(error: BaseException) -> str:
    """An exception of foreign code in one line of at most 200 letters."""
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    text = f"{type(error).__name__}: {first}" if first else type(error).__name__
    return text if len(text) <= 200 else f"{text[:199]}…"
