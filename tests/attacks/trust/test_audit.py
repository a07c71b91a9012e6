"""The sample of an audit, and what it says of the rows outside of it."""

import pytest
import torch

from pipeline.attacks.trust.audit import Audit, audit_report


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_the_drawn_part_is_the_share(share: float) -> None:
    drawn = Audit((), share).drawn(torch.arange(20_000), seed=3)
    sd = (share * (1 - share) / 20_000) ** 0.5
    assert abs(float(drawn.double().mean()) - share) <= 4 * sd


def test_a_larger_share_holds_the_rows_of_a_smaller_one() -> None:
    rows = torch.arange(1000)
    small, large = (Audit((), share).drawn(rows, seed=3) for share in (0.1, 0.3))
    assert not (small & ~large).any()


def test_with_nothing_overturned_the_interval_is_that_of_no_success() -> None:
    report = audit_report(100, 40, 10, 0)
    assert report["difference"] == 0.0
    # 30 points of rows that were not looked at; 1 - (α/2)^(1/n) of them at most.
    assert report["difference_interval_95"] == pytest.approx([0.0, 30 * (1 - 0.025**0.1)])


def test_the_difference_is_the_overturned_part_of_what_was_not_looked_at() -> None:
    report = audit_report(1000, 700, 100, 5)
    assert report["difference"] == pytest.approx(60 * 0.05)
    low, high = report["difference_interval_95"]
    # Clopper and Pearson's 5 of 100: 1.64 % to 11.28 %.
    assert (low, high) == (
        pytest.approx(60 * 0.01643, rel=1e-3),
        pytest.approx(60 * 0.11283, rel=1e-3),
    )


def test_an_audit_of_all_rows_leaves_no_difference() -> None:
    report = audit_report(1000, 700, 700, 5)
    assert (report["difference"], report["difference_interval_95"]) == (0.0, [0.0, 0.0])


def test_no_audited_row_says_nothing() -> None:
    assert audit_report(100, 3, 0, 0)["difference_interval_95"] == [0.0, 3.0]
    assert audit_report(100, 0, 0, 0)["difference_interval_95"] == [0.0, 0.0]
