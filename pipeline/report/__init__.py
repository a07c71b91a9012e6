"""The report of a run: one page for a person, and the same figures for a program."""

from pathlib import Path

from pipeline.formats.output import write_json, write_text
from pipeline.report.data import Figures, LossCurve, ReportData, Step
from pipeline.report.page import render_page

JSON_FILE = "report.json"
PAGE_FILE = "report.html"

__all__ = ["JSON_FILE", "PAGE_FILE", "Figures", "LossCurve", "ReportData", "Step", "write_report"]


def write_report(directory: Path, data: ReportData) -> Path:
    """Writes ``report.json`` and then ``report.html``, whole in itself, into ``directory``.

    Returns:
        The page's path.
    """
    write_json(directory / JSON_FILE, data.to_json())
    write_text(directory / PAGE_FILE, render_page(data))
    return directory / PAGE_FILE
