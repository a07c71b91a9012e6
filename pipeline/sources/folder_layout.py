"""Which folders of pictures are classes, and which are splits.

DIR/CLASS/...  or  DIR/SPLIT/CLASS/...  or  DIR/CLASS/SPLIT/...
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UserError
from pipeline.formats.splits import SPLITS
from pipeline.sources.base import in_order_of_names
from pipeline.sources.splits import UNLABELED, SplitsFrom, says_split_alone, split_in

_DRAW = "--splits-from draw"


@dataclass(frozen=True)
class Leaf:
    """A folder whose pictures, however deep in it, are of one class and one split.

    Attributes:
        folder: relative to the root.
        split: None where the folders' names say none.
    """

    folder: str
    class_name: str
    split: str | None


@dataclass(frozen=True)
class Inside:
    """What lies in a folder itself: the names of its sub-folders, and one of its pictures."""

    folders: tuple[str, ...]
    picture: str | None = None

    @property
    def nested(self) -> bool:
        """Whether it holds sub-folders alone."""
        return bool(self.folders) and self.picture is None


@dataclass(frozen=True)
class Layout:
    """The leaves, in order, and the folders of an unlabelled part, which are left out."""

    leaves: tuple[Leaf, ...]
    left_out: tuple[str, ...] = ()


def find_layout(
    root: Path, look: Callable[[str], Inside], splits_from: SplitsFrom = "auto"
) -> Layout:
    """Decides which folders of pictures are classes and which are splits.

    A folder is a split if its name contains one, the names of its neighbours do so too, and it
    holds the classes as sub-folders. A folder that holds pictures itself is a class whatever its
    name, if there are other folders that are no splits.

    Args:
        root: the folder.
        look: returns the content of a folder, given relative to the root.
        splits_from: with "draw" every folder is a class.

    Raises:
        UserError: it cannot be decided what is a split and what a class.
    """
    top = in_order_of_names(look("").folders)
    if splits_from == "draw":
        return Layout(tuple(Leaf(name, name, None) for name in top))
    inside = {name: look(name) for name in top}
    split_of = {name: split_in(name) for name in top}
    if any(split_of.values()) and all(split_of.values()):
        if _are_splits(root, inside, split_of):
            return _by_split(look, split_of)
    elif any(split_of.values()):
        _refuse_a_mixture(root, inside, split_of)
    else:
        _refuse_a_wrapping(root, look, inside)
        if _each_divided(root, inside):
            parts = [
                Leaf(os.path.join(name, part), name, split_in(part))
                for name, there in inside.items()
                for part in there.folders
            ]
            return Layout(
                tuple(leaf for leaf in parts if leaf.split != UNLABELED),
                tuple(leaf.folder for leaf in parts if leaf.split == UNLABELED),
            )
    return Layout(tuple(Leaf(name, name, None) for name in top))


def _are_splits(root: Path, inside: dict[str, Inside], split_of: dict[str, str | None]) -> bool:
    """Whether folders that all say a split are splits; False for classes such as "steam train"."""
    labelled = [name for name, split in split_of.items() if split != UNLABELED] or list(split_of)
    flat = [name for name in labelled if not inside[name].nested]
    one = len({split_of[name] for name in labelled}) == 1
    if not flat:
        _refuse_strangers(root, inside, labelled if one else [])
        return True
    if one and len(labelled) == len(flat) > 1 and not any(map(says_split_alone, labelled)):
        return False
    folder = root / flat[0]
    picture = inside[flat[0]].picture
    if picture is None:
        raise UserError(f"{folder} is empty; put a sub-folder for each class there, or remove it")
    raise UserError(
        f"{folder / picture} lies outside the sub-folders of the classes; move it into the "
        f"sub-folder of its class, or away; or, where {_list(split_of)} are the classes, "
        f"give {_DRAW}"
    )


def _refuse_strangers(root: Path, inside: dict[str, Inside], parts: Sequence[str]) -> None:
    """Refuses folders that may be parts of one split, or the classes themselves.

    Such as "test positive" and "test negative": they say one split beside other words, and have no
    class in common.

    Raises:
        UserError: there are such folders.
    """
    shared = set.intersection(*(set(inside[name].folders) for name in parts)) if parts else set()
    if len(parts) > 1 and not shared and not any(map(says_split_alone, parts)):
        raise UserError(
            f"in {root}, {_list(parts)} all say one split and have no sub-folder in common; move "
            f"the classes into one folder, or, where {_list(parts)} are the classes, give {_DRAW}"
        )


def _by_split(look: Callable[[str], Inside], split_of: dict[str, str | None]) -> Layout:
    return Layout(
        tuple(
            Leaf(os.path.join(part, name), name, split)
            for part, split in sorted(split_of.items(), key=_rank)
            if split != UNLABELED
            for name in in_order_of_names(look(part).folders)
        ),
        tuple(part for part, split in split_of.items() if split == UNLABELED),
    )


def _rank(item: tuple[str, str | None]) -> tuple[int, str]:
    name, split = item
    return (SPLITS.index(split) if split in SPLITS else len(SPLITS)), name


def _refuse_a_mixture(
    root: Path, inside: dict[str, Inside], split_of: dict[str, str | None]
) -> None:
    """Refuses folders of which some are splits that hold classes, and others are not."""
    doubtful = [name for name in split_of if split_of[name] and inside[name].nested]
    several = len({split_of[name] for name in doubtful}) > 1
    if not several:
        doubtful = [name for name in doubtful if says_split_alone(name)]
    if doubtful:
        others = [name for name in split_of if not split_of[name]]
        are = (
            "are called as splits and have" if len(doubtful) > 1 else "is called as a split and has"
        )
        raise UserError(
            f"in {root}, {_list(doubtful)} {are} sub-folders, and {_list(others)} "
            f"{'say' if len(others) > 1 else 'says'} no split; move what does not belong away, or, "
            f"where all of these are classes, say so with {_DRAW}"
        )


def _refuse_a_wrapping(
    root: Path, look: Callable[[str], Inside], inside: dict[str, Inside]
) -> None:
    """Refuses a single folder around the folders of the splits: it would be the only class."""
    if len(inside) != 1:
        return
    ((name, there),) = inside.items()
    if (
        there.nested
        and all(map(split_in, there.folders))
        and any(look(os.path.join(name, part)).folders for part in there.folders)
    ):
        raise UserError(
            f"{root} holds nothing but {name}, in which {_list(there.folders)} are splits; give "
            f"--input {root / name}, or, where {name} is the only class, {_DRAW}"
        )


def _each_divided(root: Path, inside: dict[str, Inside]) -> bool:
    """Whether each class is divided into splits by sub-folders of its own."""
    whole = [name for name in inside if not _divided(inside[name])]
    marked = [name for name in inside if len(_marks(inside[name])) > 1]
    if whole and marked:
        raise UserError(
            f"{root / marked[0]} has sub-folders for {_list(_marks(inside[marked[0]]))}, and "
            f"{root / whole[0]} is not divided so; divide all classes alike, or none: {_DRAW}"
        )
    return not whole and bool(inside)


def _divided(there: Inside) -> bool:
    return there.nested and all(map(says_split_alone, there.folders))


def _marks(there: Inside) -> list[str]:
    """The splits that sub-folders of a class say alone."""
    return sorted({split_in(part) or "" for part in there.folders if says_split_alone(part)})


def _list(names: Sequence[str] | dict[str, str | None]) -> str:
    shown = list(names)
    return ", ".join(shown[:4]) + (f" and {len(shown) - 4} more" if len(shown) > 4 else "")
