"""docs/refused.md: every bad input is refused, with the line that the page shows."""

import pytest

from docs.tables.page import as_markdown, table_in
from docs.tables.refused import PAGE, TABLE, inputs, run_here
from docs.tables.refused_cases import CASES


@pytest.fixture(scope="module")
def place():
    with inputs() as place:
        yield place


@pytest.fixture(scope="module")
def lines():
    return table_in(PAGE, TABLE).splitlines()


@pytest.mark.parametrize("case", [case for case in CASES if not case.ray], ids=lambda c: c.line)
def test_what_is_refused_is_refused_in_the_line_that_the_page_shows(case, place, lines):
    row = run_here(case, place)
    assert row[1] == "2"
    assert as_markdown((), [row]).splitlines()[-1] in lines


def test_the_page_shows_every_case_and_no_other(lines):
    shown = [line.split(" | ")[0].removeprefix("| ") for line in lines[2:]]
    assert shown == [f"`{case.line}`" for case in CASES]
