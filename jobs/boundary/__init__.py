"""Draw and measure classifiers' boundaries, side by side, in this process.

Without Ray: it is a few dozen rows, which a laptop does in the time that Ray takes to start. Each
classifier's arrays are written as they are done, so the same command goes on after an interruption.

OUTPUT/maps-0.npz ...     the decision maps of the first classifier, the second, …
OUTPUT/survey-0.npz ...   what was measured of it, row by row
OUTPUT/maps.png           the maps side by side
OUTPUT/noise.png          accuracy against length, of random and of chosen noise
OUTPUT/measures.png       distances, linearity, margins
OUTPUT/boundary.json      identities, figures, hashes of the arrays; written last
"""

from pathlib import Path

from jobs.boundary.config import BoundaryConfig
from jobs.boundary.manifest import manifest_of
from jobs.boundary.maps import Middle, Planes, draw_maps
from jobs.boundary.opened import Opened
from jobs.boundary.pages import draw_pages
from jobs.boundary.task import Task, picture_at
from jobs.boundary.words import say, say_survey
from noisestack.command import Command
from pipeline.boundary.survey import Survey, survey
from pipeline.errors import UserError
from pipeline.formats.boundary import BOUNDARY_FILE, read_arrays, survey_file, write_arrays
from pipeline.formats.claim import claim_output
from pipeline.formats.output import write_json


def main(config: BoundaryConfig) -> Path:
    """Draw and measure.

    Returns:
        The directory of arrays, plots and figures.

    Raises:
        UserError: classifiers and dataset do not fit, a row is out of range or is answered wrongly
            from the start, logits are not finite, or the output holds other results.
    """
    task = Task.read(config)
    with claim_output(
        config.output, task.fingerprint, overwrite=config.overwrite, marker=BOUNDARY_FILE
    ) as output:
        if output.finished:
            print(f"boundary: {output.path} (finished before)", flush=True)
            return output.path
        for opened in task.opened:
            for warning in opened.warnings:
                say(f"warning: {opened.name}: {warning.text}")
        middle = choose_middle(task)
        planes = Planes.of(task, middle)
        maps = draw_maps(task, planes, output.directory)
        surveys = [
            _surveyed(task, opened, number, output.directory)
            for number, opened in enumerate(task.opened)
        ]
        draw_pages(task, planes, maps, surveys, output.directory)
        manifest = manifest_of(task, planes, maps, surveys, output.directory)
        write_json(output.directory / BOUNDARY_FILE, manifest)
    print(f"boundary: {output.path}", flush=True)
    return output.path


def choose_middle(task: Task) -> Middle:
    """The picture in the middle of the maps, and what each classifier answers about it.

    Raises:
        UserError: the first classifier answers it wrongly, or no row rightly.
    """
    row = task.config.row
    if row is None:
        return _first_right(task)
    one = picture_at(task.info, task.split, row)
    label, classes = int(one.label[0]), task.info.classes
    answers = tuple(int(o.rule.decide(one.x, one.rows)[0]) for o in task.opened)
    wrong = [
        f"{o.name} says {classes[answer]}"
        for o, answer in zip(task.opened, answers, strict=True)
        if answer != label
    ]
    if answers[0] != label:
        raise UserError(
            f"row {row} is a {classes[label]} and is answered wrongly from the start "
            f"({'; '.join(wrong)}), so it lies beyond the boundary already; choose another row, or "
            "none for one that all answer rightly"
        )
    if wrong:
        say(
            f"row {row}, a {classes[label]}, is answered wrongly from the start: {'; '.join(wrong)}"
        )
    return Middle(one, answers)


def _first_right(task: Task) -> Middle:
    """The first measured row that all classifiers answer rightly, else the first one does."""
    by_first: Middle | None = None
    for place in range(len(task.measured.rows)):
        one = task.measured.one(place)
        label = int(one.label[0])
        answers = []
        for opened in task.opened:
            answers.append(int(opened.rule.decide(one.x, one.rows)[0]))
            if answers[-1] != label and (len(answers) == 1 or by_first):
                break
        else:
            middle = Middle(one, tuple(answers))
            if set(answers) == {label}:
                return middle
            by_first = middle
    if by_first is None:
        raise UserError(
            f"{task.opened[0].name} answers none of the first {task.config.limit} rows of "
            f"{task.split} rightly; name another picture with --row, or raise --limit"
        )
    say(f"no row is answered rightly by all of them; row {by_first.row} is by the first")
    return by_first


def _surveyed(task: Task, opened: Opened, number: int, directory: Path) -> Survey:
    """The survey of a classifier, of an earlier run if there is one."""
    path = directory / survey_file(number)
    if path.exists():
        return Survey.of(read_arrays(path))
    say(f"{opened.name}: {len(task.measured.rows)} rows are measured")
    measured = task.measured
    found = survey(opened.rule, measured.x, measured.label, measured.rows, task.settings)
    write_arrays(path, found.arrays())
    say_survey(opened.name, found)
    return found


COMMAND = Command(BoundaryConfig, main, summary="decision maps, distances to it, before and after")
