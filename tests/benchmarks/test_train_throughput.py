"""How the speed of a run is read off its log."""

import pytest

from benchmarks.train_throughput import figures, read_speed


def line(step, speed):
    return {"step": step, "pictures_per_second": speed}


def test_the_first_line_is_left_out_of_the_speed_and_its_excess_is_the_first_batch():
    # 2 steps of 100 in 4 s, then 2 in 1 s and the last one in 1 s: 300 pictures in 2 s
    lines = [line(2, 50.0), line(4, 200.0), line(5, 100.0)]
    run = read_speed(lines, batch_size=100, whole_seconds=26.0)
    assert run.pictures_per_second == pytest.approx(150)
    assert run.first_batch_seconds == pytest.approx(4 - 2 * 100 / 150)
    assert run.other_seconds == pytest.approx(20)


def test_the_ratio_is_our_median_over_the_bare_loops():
    ours = [read_speed([line(1, 1.0), line(2, speed)], 10, 99.0) for speed in (80, 90, 10)]
    found = figures({"resident": ours}, [99.0, 100.0, 500.0])
    assert found["ratio_resident"] == pytest.approx(0.8)
    assert found["bare_pictures_per_second"] == 100.0
