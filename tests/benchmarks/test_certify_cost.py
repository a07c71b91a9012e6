"""The published procedure as the benchmark has it, and how its verdicts are compared."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

from benchmarks.certify_cost import SIGMA, differences, joined, question, theirs
from benchmarks.common import read_options
from pipeline.smoothing.certifier import CertificateRows


class Constant:
    """Always the second of three classes."""

    classes = ("a", "b", "c")

    def __call__(self, x):
        return torch.tensor([0.0, 1.0, 0.5]).expand(len(x), 3)


class Coin(Constant):
    """By the sign of one value of the noise: no class has more than half of the votes."""

    def __call__(self, x):
        return torch.stack((x[:, 0, 0, 0], -x[:, 0, 0, 0], x[:, 0, 0, 0] * 0 - 9), dim=1)


def test_their_procedure_certifies_what_all_votes_give_and_abstains_at_a_half():
    x = torch.zeros(1, 1, 2, 2)
    top, reach = theirs(Constant(), x, 700, 400)
    assert top == 1
    assert reach == pytest.approx(SIGMA * norm.ppf(0.001 ** (1 / 700)))
    assert theirs(Coin(), x, 700, 400) == (-1, 0.0)


def rows(radius, predicted):
    num = len(radius)
    whole = np.full(num, 500)
    return CertificateRows(
        np.array(predicted), np.zeros((num, 3), np.int32), whole, whole, np.full(num, 0.9),
        np.array(radius), np.zeros(num, bool), whole + 100,
    )  # fmt: skip


def test_verdicts_differ_where_one_side_certifies_or_another_class_is():
    ours = joined([rows([0.3, 0.3], [1, 1]), rows([0.3, 0.1], [1, 1])])
    peers = [(1, 0.26), (1, 0.2), (2, 0.3), (-1, 0.0)]
    found = differences(ours, peers, (0.25,))
    assert [(entry["row"], entry["theirs"]) for entry in found] == [(1, 0.2), (2, 0.3)]
    figures = question("near", ours, 5900, peers, (0.25,))
    assert figures["ratio_draws_near"] == 10
    assert figures["certified_percent_near_025"] == 75
    assert figures["their_certified_percent_near_025"] == 50


def test_how_much_is_measured_can_be_given():
    numbers = {"rows": "pictures", "their-rows": "of theirs"}
    options = read_options("", ["--their-rows", "7"], numbers=numbers)
    assert options.numbers == {"their-rows": 7}
    with pytest.raises(SystemExit):
        read_options("", ["--rows", "0"], numbers=numbers)
