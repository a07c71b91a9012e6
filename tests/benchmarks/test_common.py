"""What all benchmarks share, against known answers."""

import json
import os
import subprocess
import sys
import time

import psutil
import pytest

from benchmarks.common import (
    Options,
    Stopwatch,
    alternate,
    in_own_process,
    median,
    read_options,
    report,
    watch_memory,
)

OPTIONS = Options(quick=False, repeats=5)


def test_the_package_sets_one_thread_before_torch_reads_it():
    code = "import benchmarks.common, torch; print(torch.get_num_threads())"
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    said = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert said.stdout == "1\n"


def test_sides_are_run_in_turn_and_every_second_round_backwards():
    order = []
    results = alternate(
        {name: lambda name=name: order.append(name) or len(order) for name in "ab"}, 3
    )
    assert order == list("abbaab")
    assert results == {"a": [1, 4, 5], "b": [2, 3, 6]}


def test_the_median_is_the_middle_and_one_outlier_does_not_move_it():
    assert median([3.0, 1.0, 1000.0, 2.0, 4.0]) == 3.0
    assert median([1.0, 4.0]) == 2.5


def test_five_repeats_are_the_least_unless_nothing_is_measured(capsys):
    assert read_options("", []) == Options(False, 5)
    assert read_options("", ["--repeats", "7"]) == Options(False, 7)
    assert read_options("", ["--quick"]) == Options(True, 2)
    with pytest.raises(SystemExit):
        read_options("", ["--repeats", "3"])
    assert "at least 5" in capsys.readouterr().err


def test_the_last_line_is_one_json_object_with_figures_and_targets(capsys):
    print("progress before it")
    report(
        "sample", {"ratio_x": 1.25, "y_mb": 3}, options=OPTIONS,
        targets={"ratio_x": 0.97}, limits={"y_mb": 4},
    )  # fmt: skip
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (line["benchmark"], line["ratio_x"], line["y_mb"]) == ("sample", 1.25, 3)
    assert (line["targets"], line["limits"]) == ({"ratio_x": 0.97}, {"y_mb": 4})
    assert line["machine"]["threads"] == 1
    assert line["machine"]["cores"] == os.cpu_count()


def test_a_ratio_that_is_no_number_and_a_target_without_a_figure_are_refused(capsys):
    with pytest.raises(ValueError, match="ratio_x is nan"):
        report("sample", {"ratio_x": float("nan")}, options=OPTIONS, targets={})
    with pytest.raises(ValueError, match="ratio_y was not measured"):
        report("sample", {"ratio_x": 1.0}, options=OPTIONS, targets={"ratio_y": 1.0})
    assert capsys.readouterr().out == ""


BURN = "import time\nwhile time.process_time() < 0.5: pass\nprint('burnt', flush=True)\ninput()"


def test_the_cpu_time_of_a_child_counts_while_it_lives_and_when_it_has_ended():
    watch = Stopwatch()
    child = subprocess.Popen(
        [sys.executable, "-c", BURN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "burnt\n"
    assert 0.4 < watch.spent().cpu_seconds < 5
    child.communicate("\n")
    assert 0.4 < watch.spent().cpu_seconds < 5
    assert watch.spent().wall_seconds >= 0.4


HOLD = "held = bytes(range(256)) * (64 << 12)\nprint('held', flush=True)\ninput()"


def test_the_peak_of_a_childs_memory_is_seen_and_stays_when_it_has_ended():
    # By its command line: until it runs its own program a child is its parent's memory, all of it.
    def role_of(process: psutil.Process) -> str:
        return "child" if HOLD in process.cmdline() else "mine"

    with watch_memory(role_of) as peaks:
        child = subprocess.Popen(
            [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert child.stdout.readline() == "held\n"
        time.sleep(0.5)
        child.communicate("\n")
    assert 64 << 20 <= peaks.private["child"] < 128 << 20
    assert peaks.private["child"] <= peaks.rss["child"]
    assert peaks.rss["mine"] > 0


def test_a_tree_held_to_one_core_has_all_its_threads_there():
    code = """
import os, subprocess, sys, threading
from benchmarks.common import hold_to_one_core
threading.Thread(target=threading.Event().wait, daemon=True).start()
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
hold_to_one_core()
threads = [int(t) for pid in (os.getpid(), child.pid) for t in os.listdir(f"/proc/{pid}/task")]
print(len(threads), {frozenset(os.sched_getaffinity(t)) for t in threads})
child.communicate(b"\\n")
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first = min(os.sched_getaffinity(0))
    assert int(said.stdout.split()[0]) >= 3
    assert said.stdout.split(" ", 1)[1].strip() == f"{{frozenset({{{first}}})}}"


def test_what_runs_in_its_own_process_returns_its_result_and_its_error_in_words():
    assert in_own_process(os.getpid) != os.getpid()
    with pytest.raises(RuntimeError, match="ValueError: invalid literal for int"):
        in_own_process(int, "x")
