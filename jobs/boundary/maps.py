"""The planes that are drawn, and the maps of each classifier on them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jobs.boundary.opened import Opened
from jobs.boundary.task import Pictures, Task, picture_at
from jobs.boundary.words import say
from pipeline.boundary.decision_map import DecisionMap, Window, decision_map
from pipeline.boundary.heading import CHOSEN, Heading, heading_of
from pipeline.boundary.plane import Plane, plane_along, plane_through
from pipeline.formats.boundary import maps_file, read_arrays, write_arrays

SAME, OWN, THROUGH = "same", "own", "through"  # the planes, in the order of their drawing
_ROOM = 1.6  # of the farthest boundary
_MARGIN = 0.25  # around three pictures, of the distance between them

_ARRAYS = ("across", "up", "classes")
_PLANES = {
    SAME: "the plane of the first one's direction",
    OWN: "the plane of its own direction",
    THROUGH: "the plane through three pictures",
}

Maps = Mapping[str, DecisionMap]  # of a classifier, by plane


@dataclass(frozen=True)
class Middle:
    """The picture in the middle of the maps.

    Attributes:
        picture: one row.
        answers: of each classifier about it.
    """

    picture: Pictures
    answers: tuple[int, ...]

    @property
    def label(self) -> int:
        """Its class."""
        return int(self.picture.label[0])

    @property
    def row(self) -> int:
        """Its number."""
        return int(self.picture.rows[0])


@dataclass(frozen=True)
class Planes:
    """The planes of a run.

    Attributes:
        middle: the picture that all go through.
        headings: of each classifier; where it answers wrongly from the start, that of the first.
        reach: from the middle to the edge of a map, L2.
        same: of the first classifier's heading.
        own: of each classifier's own; empty for one classifier.
        through: the plane through three pictures, if it was asked for.
        others: the two others.
    """

    middle: Middle
    headings: tuple[Heading, ...]
    reach: float
    same: Plane
    own: tuple[Plane, ...]
    through: Plane | None
    others: tuple[Pictures, ...]

    @classmethod
    def of(cls, task: Task, middle: Middle) -> "Planes":
        """Looks for each classifier's heading, and spans the planes."""
        x, row = middle.picture.x[0], middle.row
        others = tuple(picture_at(task.info, task.split, r) for r in task.config.through or ())
        through = plane_through(x, *(other.x[0] for other in others)) if others else None
        headings: list[Heading] = []
        for opened, answer in zip(task.opened, middle.answers, strict=True):
            if answer == middle.label:
                headings.append(heading_of(opened.rule, x, middle.label, row, task.settings))
                _say_heading(opened, headings[-1], task)
            else:
                headings.append(headings[0])
        met = [heading.distance for heading in headings if np.isfinite(heading.distance)]
        reach = task.config.reach or (_ROOM * max(met) if met else task.max_length)
        planes = [
            plane_along(x, heading.direction, seed=task.config.seed, row=row)
            for heading in headings
        ]
        several = len(planes) > 1
        return cls(
            middle,
            tuple(headings),
            reach,
            planes[0],
            tuple(planes) if several else (),
            through,
            others,
        )

    def of_classifier(self, number: int, points: int) -> dict[str, tuple[Plane, Window]]:
        """The planes of a classifier's maps, and the part of each that is shown, by kind."""
        window = Window.around_origin(self.reach, points)
        found = {SAME: (self.same, window)}
        if self.own:
            found[OWN] = (self.own[number], window)
        if self.through is not None:
            found[THROUGH] = (self.through, self._around_all(self.through, points))
        return found

    def _around_all(self, plane: Plane, points: int) -> Window:
        """A square around the three pictures."""
        others = [plane.coordinates(other.x[0]) for other in self.others]
        places = np.array([(0.0, 0.0), *others])
        low, high = places.min(axis=0), places.max(axis=0)
        half = (0.5 + _MARGIN) * float((high - low).max())
        left, bottom = (low + high) / 2 - half
        right, top = (low + high) / 2 + half
        return Window(float(left), float(right), float(bottom), float(top), points)


def _say_heading(opened: Opened, heading: Heading, task: Task) -> None:
    if heading.kind != CHOSEN:
        say(f"{opened.name}: no chosen direction was found, so the map's is {heading.kind}")
    where = (
        f"none within {task.settings.far:.3g}"
        if heading.beyond < 0
        else f"{heading.distance:.3g} away, beyond it {task.info.classes[heading.beyond]}"
    )
    say(f"{opened.name}: the boundary in the {heading.kind} direction: {where}")


def draw_maps(task: Task, planes: Planes, directory: Path) -> list[Maps]:
    """The maps of each classifier, those of an earlier run where there are some."""
    return [_maps_of(task, planes, number, directory) for number in range(len(task.opened))]


def _maps_of(task: Task, planes: Planes, number: int, directory: Path) -> Maps:
    path, opened = directory / maps_file(number), task.opened[number]
    kinds = planes.of_classifier(number, task.config.points)
    if not path.exists():
        arrays: dict[str, np.ndarray] = {}
        for kind, (plane, window) in kinds.items():
            if kind == OWN and plane is planes.same:  # the first one's own plane is the same
                drawn = DecisionMap(*(arrays[f"{SAME}_{name}"] for name in _ARRAYS))
            else:
                say(f"{opened.name}: {window.points} x {window.points} points, {_PLANES[kind]}")
                drawn = decision_map(opened.rule.decide, plane, window, planes.middle.row)
            arrays |= {f"{kind}_{name}": getattr(drawn, name) for name in _ARRAYS}
        write_arrays(path, arrays)
    stored = read_arrays(path)
    return {kind: DecisionMap(*(stored[f"{kind}_{name}"] for name in _ARRAYS)) for kind in kinds}
