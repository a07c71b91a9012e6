"""The three pictures of a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from jobs.boundary.maps import OWN, SAME, THROUGH, Maps, Planes
from jobs.boundary.task import Task
from pipeline.boundary.directions import random_directions
from pipeline.boundary.distance import InBox
from pipeline.boundary.heading import CHOSEN
from pipeline.boundary.plane import Plane
from pipeline.boundary.survey import Survey
from pipeline.formats.boundary import MAPS_PICTURE, MEASURES_PICTURE, NOISE_PICTURE
from pipeline.formats.output import atomic_path
from pipeline.pictures import from_unit
from pipeline.plots.boundary_measures import measures_figure
from pipeline.plots.decision_maps import MapPanel, Mark, PlaneRow, maps_figure
from pipeline.plots.noise_lengths import NoisyPicture, noise_figure

_BEYOND = 1.1  # of the distance to the boundary: where a picture beyond it is shown
_UP = "a random direction (L2 length)"
_EXAMPLE = 1.25  # of it, the length of the two example noises


def draw_pages(
    task: Task, planes: Planes, maps: Sequence[Maps], surveys: Sequence[Survey], directory: Path
) -> None:
    """Writes maps.png, noise.png and measures.png."""
    titles = [opened.title for opened in task.opened]
    label = task.info.classes[planes.middle.label]
    _save(
        maps_figure(
            _Sheet(task, planes, maps, titles).rows(),
            task.info.classes,
            f"The boundary around a picture: {label}",
        ),
        directory / MAPS_PICTURE,
    )
    named = list(zip(titles, surveys, strict=True))
    _save(
        noise_figure(
            [(title, survey.noise) for title, survey in named],
            _examples(task, planes),
            "The noise is not random",
        ),
        directory / NOISE_PICTURE,
    )
    heading = f"The boundary around {len(task.measured.rows)} pictures"
    _save(measures_figure(named, heading), directory / MEASURES_PICTURE)


def _save(figure: Figure, path: Path) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


@dataclass(frozen=True)
class _Sheet:
    """What the rows of the maps' page are made of; ``titles`` are the classifiers'."""

    task: Task
    planes: Planes
    maps: Sequence[Maps]
    titles: Sequence[str]

    @property
    def classes(self) -> Sequence[str]:
        return self.task.info.classes

    @property
    def original(self) -> tuple[np.ndarray, str]:
        """The picture in the middle."""
        middle = self.planes.middle
        return middle.picture.images[0], f"○ the picture\n{self.classes[middle.label]}"

    def rows(self) -> list[PlaneRow]:
        """A row for each kind of plane."""
        rows = [self.same()]
        if self.planes.own:
            rows.append(self.own())
        if self.planes.through is not None:
            rows.append(self.through(self.planes.through))
        return rows

    def same(self) -> PlaneRow:
        """The plane of the first classifier's heading."""
        first, name = self.planes.headings[0], self.task.opened[0].name
        pictures = [self.original]
        if np.isfinite(first.distance):
            way = first.direction * _BEYOND * first.distance
            image = from_unit((self.planes.middle.picture.x[0] + way)[None])[0]
            pictures.append((image, f"✕ {name} says\n{self.classes[first.beyond]}"))
        several = len(self.titles) > 1
        return PlaneRow(
            f"The same plane for all: the {first.kind} direction of {name}"
            if several
            else f"The plane of the {first.kind} direction",
            f"{first.kind} direction{f' of {name}' if several else ''} (L2 length)",
            _UP,
            tuple(pictures),
            tuple(
                self.panel(number, SAME, _crosses(first.distance))
                for number in range(len(self.titles))
            ),
        )

    def own(self) -> PlaneRow:
        """Each classifier's own plane."""
        headings = self.planes.headings
        return PlaneRow(
            "Each one's own plane: the direction that was chosen against it",
            "its own direction (L2 length)",
            _UP,
            (self.original,),
            tuple(
                self.panel(number, OWN, _crosses(heading.distance), heading.kind)
                for number, heading in enumerate(headings)
            ),
        )

    def through(self, plane: Plane) -> PlaneRow:
        """The plane through three pictures."""
        others = list(zip(self.planes.others, "✕□", "Xs", strict=True))
        marks = tuple(Mark(*plane.coordinates(other.x[0]), mark) for other, _, mark in others)
        return PlaneRow(
            "The plane through three pictures: ○, ✕ and □",
            "towards ✕ (L2 length)",
            "across, towards □ (L2 length)",
            tuple(
                (other.images[0], f"{sign} {self.classes[int(other.label[0])]}")
                for other, sign, _ in others
            ),
            tuple(self.panel(number, THROUGH, marks) for number in range(len(self.titles))),
        )

    def panel(
        self, number: int, kind: str, marks: tuple[Mark, ...], direction: str = CHOSEN
    ) -> MapPanel:
        """A classifier's map of one kind, with the distance to what is nearest on it.

        Args:
            direction: which one it is; said where it was not chosen.
        """
        middle, drawn = self.planes.middle, self.maps[number][kind]
        title, answer = self.titles[number], middle.answers[number]
        if answer != middle.label:
            note = f"wrong from the start: says {self.classes[answer]}"
            return MapPanel(title, drawn, note, marks=marks)
        nearest = drawn.nearest_other(middle.label)
        if kind == OWN or (kind == SAME and number == 0):  # along the axis, to a hundredth of it
            nearest = min(nearest, self.planes.headings[number].distance)
        note = f"boundary {nearest:.2f} away" if np.isfinite(nearest) else "no boundary on the map"
        if direction != CHOSEN:
            note += f" ({direction} direction)"
        return MapPanel(title, drawn, note, nearest if np.isfinite(nearest) else None, marks)


def _crosses(distance: float) -> tuple[Mark, ...]:
    return (Mark(_BEYOND * distance, 0.0),) if np.isfinite(distance) else ()


def _examples(task: Task, planes: Planes) -> list[NoisyPicture]:
    """The picture without noise, with random and with chosen noise of one length."""
    middle, heading, rule = planes.middle, planes.headings[0], task.opened[0].rule
    classes, x, rows = task.info.classes, middle.picture.x, middle.picture.rows
    length = _EXAMPLE * heading.distance if np.isfinite(heading.distance) else task.max_length / 4
    random = random_directions(task.config.seed, rows, 1, tuple(x.shape[1:]))[:, 0]
    found = []
    for what, direction in (("random", random), (heading.kind, heading.direction[None])):
        at = torch.tensor([length], dtype=torch.float64)
        noisy = InBox(x, direction).at(torch.zeros(1, dtype=torch.int64), at)
        found.append((noisy, f"{what} noise, length {length:.2f}"))
    shown = [(x, "no noise"), *found]
    answers = [int(rule.decide(noisy, rows)[0]) for noisy, _ in shown]
    return [
        NoisyPicture(from_unit(noisy)[0], said, classes[answer], answer == middle.label)
        for (noisy, said), answer in zip(shown, answers, strict=True)
    ]
