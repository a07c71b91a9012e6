"""Lines of progress: at most one about every 5 s or 10 %, with a speed that workers really have."""

import io

from jobs.common.progress import Progress


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def run(total: int, found: int, steps: list[tuple[float, int]]) -> list[str]:
    """The lines for rows found at first, and steps of (seconds since the last, rows finished)."""
    clock, stream = Clock(), io.StringIO()
    progress = Progress("job", total, stream=stream, clock=clock)
    if found:
        progress.add(found, earlier=True)
    for seconds, rows in steps:
        clock.now += seconds
        progress.add(rows)
    return stream.getvalue().splitlines()


def test_the_speed_leaves_out_the_time_until_the_first_rows() -> None:
    lines = run(1000, 0, [(60, 10), (5, 50)])
    assert lines == ["job: 60 of 1,000 rows (6%), 10 rows/s, 1 min 34 s left"]


def test_workers_that_end_together_are_no_speed() -> None:
    lines = run(1000, 0, [(20, 256), (0.01, 256), (4.99, 250)])
    assert lines == ["job: 762 of 1,000 rows (76%), 101 rows/s, 2.4 s left"]


def test_rows_of_an_earlier_run_count_as_done_but_not_for_the_speed() -> None:
    lines = run(1000, 400, [(1, 10), (5, 50)])
    assert lines == [
        "job: 460 of 1,000 rows (46%), 400 of them from an earlier run, 10 rows/s, 54 s left"
    ]


def test_rows_of_an_earlier_run_that_are_still_looked_for_give_lines_without_a_speed() -> None:
    clock, stream = Clock(), io.StringIO()
    progress = Progress("job", 1000, stream=stream, clock=clock)
    for _ in range(2):
        clock.now += 3
        progress.add(50, earlier=True)
    assert stream.getvalue().splitlines() == [
        "job: 100 of 1,000 rows (10%), 100 of them from an earlier run"
    ]


def test_rows_are_called_what_the_job_calls_them() -> None:
    clock, stream = Clock(), io.StringIO()
    progress = Progress("job", 1000, unit="samples", stream=stream, clock=clock)
    for _ in range(2):
        clock.now += 10
        progress.add(100)
    assert stream.getvalue() == "job: 200 of 1,000 samples (20%), 10 samples/s, 1 min 20 s left\n"


def test_a_fast_job_says_a_line_every_ten_per_cent_and_not_more_than_one_a_second() -> None:
    lines = run(1000, 0, [(0.1, 10)] * 99)
    # Every second has 10 %, so each tenth step speaks.
    assert len(lines) == 9


def test_a_slow_job_says_a_line_every_five_seconds() -> None:
    lines = run(1_000_000, 0, [(1, 1)] * 21)
    assert len(lines) == 4


def test_the_end_is_told_with_the_time_it_all_took() -> None:
    assert run(20, 0, [(3, 10), (0.1, 10)]) == ["job: 20 of 20 rows (100%), 3.1 s in all"]


def test_what_else_is_counted_is_told_beside_the_rows() -> None:
    clock, stream = Clock(), io.StringIO()
    progress = Progress("certify", 100, counted="draws", stream=stream, clock=clock)
    progress.add(40, earlier=True, count=9000)
    clock.now += 20
    progress.add(60, count=12_500)
    assert stream.getvalue().splitlines() == [
        "certify: 100 of 100 rows (100%), 40 of them from an earlier run, 21,500 draws, 20 s in all"
    ]
