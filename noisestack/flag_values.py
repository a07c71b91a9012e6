"""Reads flags that take lists or mappings, as texts that the config then checks.

They are written plainly, `a,b` and `a=1,b=2`, or in brackets as in JSON and YAML, `["a", "b"]` and
`{"a": 1}`. In the plain form a value with a comma, an equals sign or spaces at its ends stands in
double quotes, in which "" is a quote. A list that is marked `WHOLE` holds sentences: there a plain
text is one value, commas and all, and the flag is given once for each.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from pipeline.errors import UserError

# A quoted beginning, if there is one, and the rest up to the next comma.
_ITEM = re.compile(r'\s*(?:"((?:[^"]|"")*)")?([^,]*)(,|$)', re.DOTALL)
# The same, where a quoted value may end it; and such a value with the key before it.
_PAIR = re.compile(r'\s*(?:"((?:[^"]|"")*)")?([^,"]*=\s*"(?:[^"]|"")*"\s*|[^,]*)(,|$)', re.DOTALL)
_QUOTED_VALUE = re.compile(r'([^"]*)=\s*"((?:[^"]|"")*)"', re.DOTALL)


WHOLE = "whole texts"
"""Marks a list key, ``Annotated[tuple[str, ...], WHOLE]``, whose plain texts are not divided."""


@dataclass(frozen=True)
class _Item:
    quoted: str | None
    rest: str


def list_of(texts: Sequence[str], flag: str, *, whole: bool = False) -> list[Any] | None:
    """The values of a list flag, given once or several times; None for a single bare ``none``.

    Args:
        texts: the flag's values.
        flag: its name, for messages.
        whole: whether a text without brackets is one value, see `WHOLE`.

    Raises:
        UserError: quotes or brackets do not close.
    """
    values: list[Any] = []
    for text in texts:
        if _in_brackets(text, "[]"):
            items = _flow(text, flag)
            values += items if isinstance(items, list) else [items]
            continue
        if whole:
            values.append(text)
            continue
        for item in _items(text, flag):
            if item.quoted is not None and item.rest:
                raise UserError(f"{flag}: {text!r} has something between a quote and a comma")
            values.append(item.rest if item.quoted is None else item.quoted)
    return None if [*texts] == ["none"] else values


def mapping_of(texts: Sequence[str], flag: str) -> Any:
    """The mapping of a flag, keys and values as text; None for ``none``.

    A single text without an equals sign is returned as it is, since the key may take one value,
    too.

    Raises:
        UserError: as `list_of`; a key that comes twice, or an item without a value.
    """
    if len(texts) == 1 and "=" not in texts[0] and not _in_brackets(texts[0], "{}"):
        return None if texts[0] == "none" else texts[0]
    pairs: list[tuple[str, Any]] = []
    for text in texts:
        if _in_brackets(text, "{}"):
            pairs += _flow_pairs(text, flag)
            continue
        for item in _items(text, flag, _PAIR):
            if quoted := _QUOTED_VALUE.fullmatch(item.rest):
                key, sign, value = quoted[1], "=", quoted[2].replace('""', '"')
            else:
                # A bare value has no equals sign: an unquoted key may have some.
                key, sign, value = item.rest.rpartition("=")
                value = value.strip()
                if value.startswith('"'):
                    raise UserError(f"{flag}: a quote in {text!r} does not close")
            if not sign or (item.quoted is not None and key.strip()):
                raise UserError(f"{flag}: {text!r} is not KEY=VALUE,KEY=VALUE")
            pairs.append((key.strip() if item.quoted is None else item.quoted, value))
    mapping: dict[str, Any] = {}
    for key, value in pairs:
        if key in mapping:
            raise UserError(f"{flag}: {key!r} comes twice; give it once")
        mapping[key] = value
    return mapping


def _items(text: str, flag: str, item: re.Pattern[str] = _ITEM) -> list[_Item]:
    items, at = [], 0
    while True:
        match = item.match(text, at)
        assert match is not None  # every part of it may be empty
        quoted, rest, end = match.groups()
        if quoted is None and rest.startswith('"'):
            raise UserError(f"{flag}: a quote in {text!r} does not close")
        items.append(_Item(None if quoted is None else quoted.replace('""', '"'), rest.strip()))
        if not end:
            return items
        at = match.end()


def _in_brackets(text: str, brackets: str) -> bool:
    return text.strip().startswith(brackets[0]) and text.strip().endswith(brackets[1])


def _flow(text: str, flag: str) -> Any:
    """The content of brackets, with every value as text.

    It is read as YAML, which includes JSON but for escaped slashes and surrogates.
    """
    try:
        return yaml.load(text, Loader=yaml.BaseLoader)  # makes text, lists and dicts alone
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or "it does not parse"
        raise UserError(f"{flag}: {text!r} is no list or mapping in brackets: {problem}") from error


def _flow_pairs(text: str, flag: str) -> list[tuple[str, Any]]:
    values = _flow(text, flag)
    node = yaml.compose(text, Loader=yaml.BaseLoader)
    assert isinstance(node, yaml.MappingNode)
    return [(key.value, values[key.value]) for key, _ in node.value]
