"""Makes Noisestack's packages come before a user's folders of the same names, such as `jobs`.

Otherwise Python would import a folder `jobs` on PYTHONPATH, or in the current directory, in the
place of ours: it searches the folders of its path first, and an editable installation last.
"""

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

NAMES = ("jobs", "noisestack", "pipeline", "serve")
ROOT = Path(__file__).resolve().parent.parent


class _OwnPackages:
    """A finder that comes first and finds our packages beside this one."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return PathFinder.find_spec(name, [str(ROOT)]) if name in NAMES else None


def come_first() -> None:
    """Makes this process import our packages, and no others of these names."""
    if _OwnPackages not in sys.meta_path:
        sys.meta_path.insert(0, _OwnPackages)


def hiding() -> list[Path]:
    """The folders and files that would hide our packages from a process of Ray's.

    Its path begins with the folder that the driver was started in, and with PYTHONPATH.
    """
    places = [os.getcwd(), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return [
        path
        for place in dict.fromkeys(Path(p).resolve() for p in places)
        if place != ROOT
        for name in NAMES
        for path in (place / name, place / f"{name}.py")
        if (path.is_file() if path.suffix else path.is_dir())
    ]


def imported_from(name: str) -> str:
    """Where this process found a package of ours, or what it took for it."""
    module = sys.modules.get(name)
    return str(getattr(module, "__file__", None) or [*getattr(module, "__path__", [])])
