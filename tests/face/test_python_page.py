"""docs/python.md and docs/notebook.ipynb run as they stand, after what the quickstart leaves."""

import json
import re
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from in_this_process import generate_here
from quickstart_runs import write_quickstart

import noisestack as ns

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("page")
    write_quickstart(root)
    return root


def run(blocks: list[str], names: str) -> dict[str, Any]:
    """Runs code in order in one namespace, which it returns."""
    space: dict[str, Any] = {"__name__": "__main__"}
    for number, block in enumerate(blocks, 1):
        exec(compile(block, f"{names}, block {number}", "exec"), space)
    return space


def test_the_examples_of_the_page_run_in_order(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    generate_here(monkeypatch)
    text = (DOCS / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    space = run(blocks, "docs/python.md")
    assert len(blocks) > 10
    assert space["found"].success.any()
    assert "has no class 'eleven'" in capsys.readouterr().out
    assert (place / "runs/python/samples/manifest.json").is_file()


def test_the_notebook_runs_from_its_own_folder_and_is_stored_without_outputs(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "docs").mkdir(exist_ok=True)
    monkeypatch.chdir(place / "docs")
    book = json.loads((DOCS / "notebook.ipynb").read_text(encoding="utf-8"))
    assert (book["nbformat"], book["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in book["cells"]]
    assert len(set(ids)) == len(ids)
    code = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    with matplotlib.rc_context({"backend": "Agg"}):
        space = run(["".join(cell["source"]) for cell in code], "docs/notebook.ipynb")
        import matplotlib.pyplot as plt

        assert len(plt.get_fignums()) >= 3
        plt.close("all")
    assert isinstance(space["found"], ns.AttackResult)
