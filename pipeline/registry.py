"""Registries of entries by name, gathered from a folder's modules: adding a thing is adding a file.

Each kind of thing (a sampler, a source, …) has a folder, whose modules define one or more entries
of one class at their top level. The folder's ``__init__`` gathers them with `entries_of`, and all
lists of names (choices, help texts, the endpoint's schema) are built from the result.
"""

from collections.abc import Iterable, Mapping
from importlib import import_module
from pkgutil import iter_modules
from typing import Protocol, TypeVar


class Named(Protocol):
    """An entry: whatever has a name that a config can give."""

    @property
    def name(self) -> str: ...


class Explained(Named, Protocol):
    """An entry that says what it is."""

    @property
    def help(self) -> str: ...


Entry = TypeVar("Entry", bound=Named)


def entries_of(package: str, path: Iterable[str], entry: type[Entry]) -> dict[str, Entry]:
    """The entries at the top of a package's modules, by their names.

    Modules in the order of their file names, and a module's entries in the order in which it lists
    them: so a list of choices is the same on every machine.

    Args:
        package: ``__name__`` of the package.
        path: its ``__path__``.
        entry: the class of the entries.

    Raises:
        ValueError: two entries of one name.
    """
    entries: dict[str, Entry] = {}
    for name in sorted(module.name for module in iter_modules(path)):
        for value in vars(import_module(f"{package}.{name}")).values():
            if isinstance(value, entry) and entries.setdefault(value.name, value) is not value:
                raise ValueError(f"{package}: two files call theirs {value.name!r}; rename one")
    return entries


def explained(entries: Mapping[str, Explained]) -> str:
    """For ``--help``: each name with what its entry says of itself."""
    return "; ".join(f"{name}: {entry.help}" for name, entry in entries.items())
