"""The docs' tables that scripts make: found, renewed, and nothing else of a page touched."""

import pytest

from docs.tables import coverage, page, readers
from docs.tables.page import as_markdown, replace_table, table_in


@pytest.fixture
def written(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "DOCS", tmp_path)
    (tmp_path / "page.md").write_text("above\n<!-- table one -->\nold\n<!-- end one -->\nbelow\n")
    return tmp_path / "page.md"


def test_a_table_is_replaced_and_the_rest_of_the_page_stays(written):
    replace_table("page.md", "one", as_markdown(["a", "b"], [[1, "x|y"]]))
    assert table_in("page.md", "one") == "| a | b |\n| --- | --- |\n| 1 | x\\|y |"
    assert written.read_text().startswith("above\n")
    assert written.read_text().endswith("\nbelow\n")


def test_a_page_without_the_marks_is_told_by_name(written):
    with pytest.raises(ValueError, match=r"docs/page\.md has not the two marks of the table two"):
        replace_table("page.md", "two", "")


@pytest.mark.parametrize("tool", readers.TOOLS, ids=lambda tool: tool.name)
def test_the_table_of_readers_says_what_each_does_here(tool, tmp_path, monkeypatch):
    """(An older or a newer version of a tool may do otherwise: then the table is to be renewed.)"""
    pytest.importorskip("lance" if tool.package == "pylance" else tool.package)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    line = "| " + " | ".join(readers.row_of(tool, tmp_path)) + " |"
    assert line in table_in(readers.PAGE, readers.TABLE).splitlines()


def test_the_table_of_withstanding_rows_is_of_the_tested_versions():
    lines = (page.DOCS.parent / "constraints.txt").read_text().splitlines()
    versions = dict(line.split("==") for line in lines if "==" in line and line[0] != "#")
    table = table_in("own_models.md", "withstanding_rows")
    for library in ("torchattacks", "foolbox", "adv-lib", "pyautoattack"):
        assert f"| {library} {versions[library]} |" in table


def test_the_table_of_coverage_counts_by_folder_and_says_why_a_file_has_gaps():
    def file(statements, ran):
        return {"summary": {"num_statements": statements, "covered_lines": ran}}

    report = {
        "files": {
            "pipeline/chain/haar.py": file(30, 30),
            "pipeline/chain/new.py": file(50, 10),
            "pipeline/chain/short.py": file(10, 0),
            "jobs/perturb/run.py": file(40, 20),
            "jobs/__init__.py": file(0, 0),
        }
    }
    assert coverage.rows_of(report) == [
        ["`jobs/perturb`", "40", "50%", f"`run.py` 50%: {coverage.REASONS['jobs']}"],
        ["`pipeline/chain`", "90", "44%", "`new.py` 20%: not said yet"],
        ["all", "130", "46%", ""],
    ]


def test_every_gap_that_the_page_shows_is_explained_by_a_file_or_folder_that_is_there():
    assert "not said yet" not in table_in(coverage.PAGE, coverage.TABLE)
    root = page.DOCS.parent
    assert [place for place in coverage.REASONS if not (root / place).exists()] == []
