"""How Sphinx builds the site from the pages that `python -m docs.site` gathers."""

from noisestack import __version__

project = "Noisestack"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
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
