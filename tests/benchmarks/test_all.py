"""`python -m benchmarks`: the table of all ratios, and what becomes of one that fails."""

import json
import subprocess
from types import SimpleNamespace

import pytest

from benchmarks import __main__ as bench

GOOD = {
    "benchmark": "one", "ratio_a": 1.25, "ratio_b": 0.5, "ratio_c": 2, "peak_mb": 300, "rows": 7,
    "targets": {"ratio_a": 1.0, "ratio_b": 0.9}, "limits": {"peak_mb": 250},
}  # fmt: skip


@pytest.fixture
def started(monkeypatch, tmp_path):
    """Stands in for the benchmarks' processes: what each prints, with which exit code."""
    outputs, seen = {}, []

    def run(command, stdout, stderr):
        name = command[2].removeprefix("benchmarks.")
        seen.append(command[2:])
        text, code = outputs[name]
        stdout.write(text)
        return SimpleNamespace(returncode=code)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(bench, "OUTPUT", tmp_path / "bench")
    monkeypatch.setattr(bench, "names", lambda: sorted(outputs))
    return SimpleNamespace(outputs=outputs, seen=seen, kept=tmp_path / "bench")


def test_each_ratio_stands_in_the_table_with_its_target_and_whether_it_is_met():
    lines = [line.split("  ") for line in bench.table({"one": GOOD})]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert cells[1:] == [
        ["one", "ratio_a", "1.25", "at least 1", "met"],
        ["one", "ratio_b", "0.5", "at least 0.9", "MISSED"],
        ["one", "ratio_c", "2"],
        ["one", "peak_mb", "300", "at most 250", "MISSED"],
    ]


def test_all_are_run_with_the_options_and_their_json_is_kept(started, capsys):
    started.outputs["one"] = ("step 1\n" + json.dumps(GOOD) + "\n", 0)
    assert bench.main(["--quick", "--repeats", "3"]) == 0
    assert started.seen == [["benchmarks.one", "--quick", "--repeats", "3"]]
    assert json.loads((started.kept / "one.json").read_text()) == GOOD
    assert "ratio_a" in capsys.readouterr().out


def test_one_that_fails_is_told_the_others_go_on_and_the_exit_code_is_1(started, capsys):
    started.kept.mkdir()
    (started.kept / "bad.json").write_text('{"ratio_old": 1}')
    started.outputs["bad"] = ("Traceback: no disk\n", 1)
    started.outputs["mute"] = ("no figures here\n", 0)
    started.outputs["one"] = (json.dumps(GOOD) + "\n", 0)
    assert bench.main([]) == 1
    said = capsys.readouterr().out
    assert "Traceback: no disk" in said
    assert said.count("NO FIGURES") == 2
    assert "ratio_a" in said
    assert not (started.kept / "bad.json").exists()


def test_an_unknown_name_is_refused(started):
    with pytest.raises(SystemExit):
        bench.main(["nothing"])


def test_what_benchmarks_share_is_no_benchmark():
    assert {"common", "__main__"}.isdisjoint(bench.names())
