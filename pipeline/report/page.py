"""The report's page: HTML with its pictures inside, no script, nothing fetched from anywhere."""

from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from string import Template

from pipeline.duration import duration
from pipeline.plots.perturbations import PerturbationExamples, gain_for, magnified_change
from pipeline.plots.trajectory import Trajectory, sigma_text
from pipeline.report.boundary import boundary_section
from pipeline.report.certificates import certificate_section
from pipeline.report.data import LossCurve, ReportData, Robustness, Step
from pipeline.report.elements import pixels, png, rows, section, strip, verdict
from pipeline.report.reading import ball, headlines, readings


def render_page(data: ReportData) -> str:
    """The whole page. All text is escaped; what ``data`` lacks is left out."""
    template = Template((resources.files(__package__) / "page.html").read_text(encoding="utf-8"))
    sections = (
        _glance(data),
        _samples(data),
        _trajectory(data.trajectory),
        _perturbations(data.examples, data.figures.robustness),
        certificate_section(data.certificates),
        boundary_section(data.boundary),
        _losses(data.losses),
        _table(data),
        _run(data),
    )
    return template.substitute(
        title=escape(data.title),
        dataset=escape(data.dataset),
        sections="\n".join(filter(None, sections)),
    )


def _glance(data: ReportData) -> str:
    tiles = [
        f'<div class="tile"><h3>{escape(h.name)}</h3><p class="value">{escape(h.value)}</p>'
        f'<p class="note">{escape(h.note)}</p>{verdict(h.good)}</div>'
        for h in headlines(data.figures)
    ]
    if data.steps:
        slowest = max(data.steps, key=lambda step: step.seconds)
        tiles.append(
            f'<div class="tile"><h3>Time</h3><p class="value">{duration(data.seconds)}</p>'
            f'<p class="note">of this run, in {len(data.steps)} steps; longest: '
            f"{escape(slowest.name)}, {duration(slowest.seconds)}</p></div>"
        )
    return section(
        "glance",
        "At a glance",
        "",
        f'<div class="tiles">{"".join(tiles)}</div>' if tiles else "",
    )


def _samples(data: ReportData) -> str:
    columns = max((len(row.images) for row in data.samples), default=0)
    if columns == 0:
        return ""
    strips = [
        strip(
            row.name,
            [
                pixels(image, f"sample {number} of {row.name}" if row.name else f"sample {number}")
                for number, image in enumerate(row.images, 1)
            ],
            columns,
        )
        for row in data.samples
    ]
    of_all = f" of {data.num_samples:,} samples" if data.num_samples else ""
    names = [row.name for row in data.samples]
    intro = "The stack drew every one of these pictures from noise; none is from the data. "
    if any(names):
        intro += (
            "The name at the left is what it was asked for. They are the first"
            f"{of_all} in each class: nobody has picked out the best."
        )
    else:
        intro += f"They are the first{of_all}: nobody has picked out the best."
    if data.sampling:
        intro += f" ({escape(data.sampling)}.)"
    side = max(max(row.images.shape[1:3]) for row in data.samples)
    return section(
        "samples",
        "Samples by class" if any(names) else "Samples",
        intro,
        rows(names, strips, side=side, shortens=True),
    )


def _trajectory(trajectory: Trajectory | None) -> str:
    if trajectory is None or not trajectory.levels or not trajectory.names:
        return ""
    cells, before = [], trajectory.levels[0].size
    for level in trajectory.levels:
        height, width = level.size
        kind = "level new" if level.size != before else "level"
        before = level.size
        cells.append(
            f'<figure class="{kind}">'
            f"{pixels(level.images[0], f'level {level.t}, {width} by {height} pixels')}"
            f"<figcaption><b>t = {level.t}</b><br>σ = {sigma_text(level.sigma)}"
            f"<br><span>{width}×{height}</span></figcaption></figure>"
        )
    count = len(trajectory.levels)
    content = f'<div class="way" style="--n: {count}">{"".join(cells)}</div>'
    if len(trajectory.names) > 1:
        others = [
            strip(
                trajectory.names[i],
                [pixels(level.images[i], f"level {level.t}") for level in trajectory.levels],
                count,
            )
            for i in range(1, len(trajectory.names))
        ]
        content += '<p class="intro">The same levels of other samples:</p>'
        content += rows(trajectory.names[1:], others, side=max(trajectory.levels[-1].size))
    shown = (
        ""
        if count == trajectory.num_layers + 1
        else f" ({count} of {trajectory.num_layers + 1} are shown)"
    )
    asked = f", asked for “{escape(trajectory.names[0])}”" if trajectory.names[0] else ""
    intro = (
        f"One sample{asked}, from pure noise at level 0 to the picture at level "
        f"{trajectory.num_layers}{shown}. Each layer takes away some noise (σ is how much is "
        "left); where the frame is marked, the resolution doubles and fine detail is drawn in. The "
        "contrast of each level is adapted so that the noise does not hide everything."
    )
    return section("way", "One sample’s way up the stack", intro, content)


def _perturbations(examples: PerturbationExamples | None, figures: Robustness | None) -> str:
    if examples is None or len(examples.images) == 0:
        return ""
    gain = gain_for(examples.images, examples.adversarial)
    changes = magnified_change(examples.images, examples.adversarial, gain)
    cards = []
    for i, change in enumerate(changes):
        truth = int(examples.labels[i])
        name = examples.classes[truth]
        before, after = (
            _says(examples.classes, int(guess), truth)
            for guess in (examples.clean_predictions[i], examples.adversarial_predictions[i])
        )
        cards.append(
            '<div class="card">'
            f"<figure>{pixels(examples.images[i], f'a real {name}')}"
            f"<figcaption>original<br>{before}</figcaption></figure>"
            f"<figure>{pixels(change, f'the change, times {gain}')}"
            f"<figcaption>change × {gain}</figcaption></figure>"
            f"<figure>{pixels(examples.adversarial[i], f'the same {name}, perturbed')}"
            f"<figcaption>perturbed<br>{after}</figcaption></figure></div>"
        )
    limit = f"Here {ball(figures)}. " if figures else ""
    intro = (
        "Each picture on the left is real. A small change, computed to mislead (in the middle, "
        f"times {gain} around grey), gives the picture on the right: a person still sees the same "
        f"thing, the classifier often does not. {limit}These are the first pictures of their "
        "classes, fooled or not."
    )
    return section(
        "perturbations",
        "Small changes that fool a classifier",
        intro,
        f'<div class="cards">{"".join(cards)}</div>',
    )


def _says(classes: Sequence[str], guess: int, truth: int) -> str:
    kind, sign = ("right", "✓") if guess == truth else ("wrong", "✗")
    return f'<span class="{kind}">says {escape(classes[guess])} {sign}</span>'


def _losses(losses: tuple[LossCurve, ...]) -> str:
    plots = [
        f'<figure class="plot">{png(loss.png, f"losses of the {loss.name}")}'
        f"<figcaption>{escape(loss.name)}</figcaption></figure>"
        for loss in losses
    ]
    intro = (
        "A loss is what training pushes down. It should fall steeply, then level out; one that "
        "rises, or jumps about ever more wildly, is a training gone wrong. The losses of different "
        "networks or resolutions do not compare."
    )
    return section(
        "losses",
        "How training went",
        intro,
        f'<div class="plots">{"".join(plots)}</div>' if plots else "",
    )


def _table(data: ReportData) -> str:
    lines = []
    for reading in readings(data.figures):
        mark = (
            f'<p class="mark">{verdict(reading.good)} the mark: {escape(reading.mark)}</p>'
            if reading.mark
            else ""
        )
        lines.append(
            f'<tr><th scope="row">{escape(reading.name)}</th>'
            f'<td class="number">{escape(reading.value)}</td>'
            f"<td>{escape(reading.meaning)}{mark}</td></tr>"
        )
    head = "<thead><tr><th>Figure</th><th>Value</th><th>How to read it</th></tr></thead>"
    table = f'<table class="figures">{head}<tbody>{"".join(lines)}</tbody></table>' if lines else ""
    return section("figures", "Every figure, and how to read it", "", table)


def _run(data: ReportData) -> str:
    parts = [_steps(data.steps)]
    for heading, pairs in (
        ("What lies beside this page", data.files),
        ("What it was made from (SHA-256)", data.hashes),
        ("Versions", data.versions),
    ):
        if pairs:
            parts.append(f"<h3>{heading}</h3>{_pairs(pairs)}")
    if data.next_steps:
        todo = "".join(
            f"<li>{escape(what)}<pre>{escape(command)}</pre></li>"
            for what, command in data.next_steps.items()
        )
        parts.append(f'<h3>What to do next</h3><ul class="steps">{todo}</ul>')
    intro = (
        "Each step is a command of its own. Given again, it finds its finished work and repeats "
        "nothing: the times are those of the last run."
    )
    return section("run", "What was run", intro if data.steps else "", "".join(parts))


def _steps(steps: tuple[Step, ...]) -> str:
    longest = max((step.seconds for step in steps), default=0) or 1
    items = [
        f'<li><div class="step"><b>{escape(step.name)}</b>'
        f'<span class="bar"><i style="width: {100 * step.seconds / longest:.1f}%"></i></span>'
        f'<span class="number">{duration(step.seconds)}</span></div>'
        f"<pre>{escape(step.command)}</pre></li>"
        for step in steps
    ]
    return f'<ol class="steps">{"".join(items)}</ol>' if items else ""


def _pairs(pairs: Mapping[str, str]) -> str:
    items = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs.items()
    )
    return f"<dl>{items}</dl>"
