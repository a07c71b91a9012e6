"""Rows by their numbers, however far apart and in whatever order they are asked for."""

from pathlib import Path

import numpy as np
import pytest
from digit_set import write_digits

from pipeline.formats import rows_at as rows_at_module
from pipeline.formats.dataset import load_dataset, read_rows
from pipeline.formats.rows_at import rows_at


@pytest.mark.parametrize("far_apart", [0, 3, 1024])
def test_rows_come_in_the_order_of_their_numbers_in_few_runs_or_many(
    far_apart: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_at_module, "_FAR_APART", far_apart)
    write_digits(tmp_path / "set", num_train=90, num_test=10, shard_rows=25)
    info = load_dataset(tmp_path / "set")
    whole = read_rows(info, "train", 0, 90).to_pylist()
    asked = np.array([71, 3, 26, 24, 25, 3, 89, 0])
    assert rows_at(info, "train", asked).to_pylist() == [whole[row] for row in asked]
    with pytest.raises(IndexError):
        rows_at(info, "train", np.array([0, 90]))
