"""Explains what is wrong with a config in one line: the key, its value, and where it came from."""

import reprlib
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import ValidationError

from noisestack.config import JobConfig


def nearest(name: str, names: Sequence[str]) -> str:
    """The name among ``names`` that is spelt most like ``name``."""
    return get_close_matches(name, names, n=1, cutoff=0.0)[0]


def choices(annotation: Any) -> list[Any]:
    """The values of a Literal, alone or as part of a union; empty for other types."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    if get_origin(annotation) in (Union, UnionType):
        return [choice for part in get_args(annotation) for choice in choices(part)]
    return []


def explain(
    error: ValidationError,
    origins: Mapping[str, str],
    config_class: type[JobConfig],
    spelling: Callable[[str], str],
    remedy: Callable[[Sequence[str]], str],
) -> str:
    """One line for all errors of a config.

    Args:
        error: pydantic's.
        origins: where each key's value came from: a file or a flag.
        spelling: turns a key into what the user writes.
        remedy: turns the spellings of missing keys into how to give them.
    """
    missing: list[str] = []
    wrong: dict[str, list[str]] = {}  # what a key should be; a union says so once for each part
    inputs: dict[str, str] = {}
    for detail in error.errors():
        place, message = detail["loc"], detail["msg"]
        key = str(place[0]) if place else ""
        if detail["type"] == "missing" and len(place) == 1:
            missing.append(spelling(key))
            continue
        items = [part + 1 for part in place[1:] if isinstance(part, int)]
        message = message.removeprefix("Input ").removeprefix("Value error, ")
        message = message.partition(", unable to parse")[0]
        wrong.setdefault(key, []).append(f"item {items[0]} {message}" if items else message)
        if detail["type"] != "value_error" and ", not " not in message:
            inputs[key] = f", not {reprlib.repr(detail['input'])}"
        if detail["type"] == "literal_error" and isinstance(detail["input"], str):
            options = choices(config_class.model_fields[key].annotation)
            if names := [option for option in options if isinstance(option, str)]:
                inputs[key] += f" (the nearest is {nearest(detail['input'], names)})"
    lines = [
        (f"{origins[key]}: " if key in origins else "")
        + " or ".join(dict.fromkeys(messages))
        + inputs.get(key, "")
        for key, messages in wrong.items()
    ]
    if missing:
        lines.append(f"missing: {', '.join(missing)}; {remedy(missing)}")
    return "; ".join(lines)
