"""What the benchmark of `generate` makes of the times that it is given."""

import pytest

from benchmarks.generate_throughput import Call, JobTimes, figures, whole_speed


def test_actors_are_timed_from_the_end_of_their_first_call_pauses_included() -> None:
    one = [Call(7, 0, 3.0, 5.0, 60), Call(7, 0, 0.0, 2.5, 90), Call(7, 0, 5.0, 7.0, 40)]
    assert whole_speed(one) == 100 / 4.5
    late = [Call(8, 0, 100.0, 104.0, 60)]
    assert whole_speed([*one, *late]) == 100 / 4.5 + 60 / 4


def test_ratios_are_of_medians_and_above_one_where_the_job_or_the_whole_stack_is_faster() -> None:
    jobs = {
        "one": [JobTimes(speed, 9.0, 1.0) for speed in (19.0, 18.0, 50.0)],
        "two": [JobTimes(speed, 10.0, 1.0) for speed in (38.0, 37.0, 90.0)],
        "stages": [JobTimes(19.0, start, 2.0) for start in (11.0, 14.0, 12.0)],
    }
    found = figures([20.0, 10.0, 30.0], jobs)
    assert found["ratio_bare"] == pytest.approx(0.95)
    assert found["ratio_two_actors"] == pytest.approx(2.0)
    assert found["ratio_whole_over_stages"] == pytest.approx(2.0)
    assert found["stages_startup_seconds"] == 12.0
    assert found["stages_finish_seconds"] == 2.0
