"""Tables of the docs that a script makes: where they stand in a page, and how they are renewed.

A page holds a table between the lines `<!-- table NAME -->` and `<!-- end NAME -->`;
`python -m docs.tables.NAME` makes it anew in its place.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent


def as_markdown(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown; bars within a cell are escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def table_in(page: str, name: str) -> str:
    """What stands between a table's two marks in the docs page of that name.

    Raises:
        ValueError: the page has not each of the marks once.
    """
    return _parts((DOCS / page).read_text(), page, name)[1]


def replace_table(page: str, name: str, table: str) -> None:
    """Puts a table between its two marks; the rest of the page stays."""
    path = DOCS / page
    before, _, after = _parts(path.read_text(), page, name)
    path.write_text(f"{before}{table.strip()}{after}")


def _parts(text: str, page: str, name: str) -> tuple[str, str, str]:
    start, end = f"<!-- table {name} -->\n", f"\n<!-- end {name} -->"
    if text.count(start) != 1 or text.count(end) != 1:
        raise ValueError(f"docs/{page} has not the two marks of the table {name} once each")
    before, _, rest = text.partition(start)
    table, _, after = rest.partition(end)
    return before + start, table, end + after
