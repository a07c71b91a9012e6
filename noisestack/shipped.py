"""The files that come with Noisestack: a config for each run that the docs name, and the checkers.

They lie in `files/` beside this module; in a clone these are links to `configs/` and `docs/`, in an
installed package the files themselves.
"""

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from pipeline.errors import UserError

FILES = Path(__file__).parent / "files"


@dataclass(frozen=True)
class ShippedFile:
    """A file of the package.

    Attributes:
        name: of a config without its ending.
        path: of the file.
    """

    name: str
    path: Path

    @property
    def description(self) -> str:
        """What it is: the first line of its comment."""
        first = self.path.read_text(encoding="utf-8").partition("\n")[0]
        return first.strip('#" ')


def configs() -> dict[str, ShippedFile]:
    """The configs by name."""
    paths = sorted((FILES / "configs").glob("*.yaml"))
    return {path.stem: ShippedFile(path.stem, path) for path in paths}


def shipped_files() -> dict[str, ShippedFile]:
    """The configs, and what else comes along, by name."""
    scripts = sorted(FILES.glob("*.py"))
    return configs() | {path.name: ShippedFile(path.name, path) for path in scripts}


def named_file(name: str) -> ShippedFile:
    """The file of this name.

    Raises:
        UserError: there is none; the line says which is the nearest.
    """
    files = shipped_files()
    path = files.get(name) or files.get(name.removesuffix(".yaml"))
    if path is None:
        near = get_close_matches(name, files, n=1, cutoff=0.0)[0]
        raise UserError(
            f"there is no config {name!r}; the nearest is {near!r}; `noisestack configs` lists them"
        )
    return path


def config_path(text: str) -> Path:
    """The file that `--config TEXT` means: the one at that path, else the shipped one of that name.

    A name has neither folder nor ending: a file that a person forgot is not replaced by another.
    """
    path = Path(text)
    shipped = configs().get(text)
    return path if shipped is None or path.is_file() else shipped.path
