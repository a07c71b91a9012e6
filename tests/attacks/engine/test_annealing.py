"""Half a cosine from 1 to its last value."""

import torch

from pipeline.attacks.engine.annealing import along_cosine


def test_the_factor_is_1_at_first_halfway_in_the_middle_and_the_last_value_at_the_end() -> None:
    found = along_cosine(torch.tensor([0, 50, 100]), 100, 0.02)
    torch.testing.assert_close(found, torch.tensor([1.0, 0.51, 0.02]))
