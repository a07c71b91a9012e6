"""How Sphinx builds the site from the pages that `python -m docs.site` gathers."""

import re
from typing import Any

from noisestack import __version__

project = "Noisestack"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["wide.css"]
html_title = f"Noisestack {version}"

myst_heading_anchors = 4  # links to headings, as the repository's own pages have them
highlight_language = "none"  # of a block that names no language
default_role = "code"  # what stands in backticks in a docstring

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "separated"
napoleon_use_ivar = True  # fields in a class's docstring are listed, not described twice

# A link that leads nowhere ends the build (`-W`). Docstrings are prose first: where one is not
# quite reStructuredText it is shown all the same.
suppress_warnings = ["docutils", "autodoc.mocked_object", "ref.python"]


def as_restructured_text(
    app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Docstrings as Sphinx reads them: indented examples are code, no types from colons."""
    for i in range(len(lines) - 1, 1, -1):
        after_prose = not lines[i - 1] and lines[i - 2] and not lines[i - 2].startswith(" ")
        if lines[i].startswith("    ") and after_prose:
            lines[i:i] = ["::", ""]
    if what in ("property", "attribute", "data"):
        lines.insert(0, "")  # else what stands before the first colon is taken for its type


def names_together(
    app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """`a, b: text` describes both; Sphinx would take all but the last for the last one's type."""
    for i, line in enumerate(lines):
        if fields := re.match(r":(ivar|param) (\w+(?:, \w+)+):", line):
            together = f":{fields[1]} {fields[2].replace(', ', ',')}:"
            lines[i] = together + line[fields.end() :]


def setup(app: Any) -> None:
    """Called by Sphinx. Its own reading of docstrings has the priority 500."""
    app.connect("autodoc-process-docstring", as_restructured_text, priority=400)
    app.connect("autodoc-process-docstring", names_together, priority=600)
