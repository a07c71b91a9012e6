"""Keyed noise: the generator's published vectors, the draws' law, and their independence."""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from pipeline.chain.noise import Purpose, keyed_normal, keyed_uniform, philox4x32
from pipeline.chain.permutation import keyed_permutation

SHAPE = (5, 20)
ROOT = Path(__file__).parents[2]


def order(seed: int, index: int, size: int, purpose: Purpose = Purpose.ORDER) -> tuple[int, ...]:
    return tuple(keyed_permutation(seed, index, purpose, size).tolist())


def words(text: str) -> list[torch.Tensor]:
    return [torch.tensor(int(word, 16)) for word in text.split()]


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ("0 0 0 0", "0 0", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        (
            "ffffffff ffffffff ffffffff ffffffff",
            "ffffffff ffffffff",
            "408f276d 41c83b0e a20bc7c6 6d5451fd",
        ),
        (
            "243f6a88 85a308d3 13198a2e 03707344",
            "a4093822 299f31d0",
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
    ids=["zeros", "ones", "digits of pi"],
)
def test_philox_gives_the_known_answers_of_random123(counter: str, key: str, expected: str) -> None:
    found = philox4x32(words(counter), words(key))
    assert [int(word) for word in found] == [int(word) for word in words(expected)]


def test_normal_draws_are_standard_normal() -> None:
    draws = keyed_normal(np.full(400, 7), np.arange(400), 3, Purpose.STEP, SHAPE)
    assert draws.dtype == torch.float32
    assert draws.shape == (400, *SHAPE)
    assert stats.kstest(draws.flatten().double().numpy(), "norm").pvalue > 1e-3


def test_uniform_draws_are_uniform_on_the_open_interval() -> None:
    draws = keyed_uniform(np.full(400, 7), np.arange(400), 3, Purpose.STEP, SHAPE)
    assert draws.dtype == torch.float64
    assert draws.min() > 0
    assert draws.max() < 1
    assert stats.kstest(draws.flatten().numpy(), "uniform").pvalue > 1e-3
    assert keyed_uniform([1, 2], [0, 0], 0, Purpose.STEP).shape == (2,)


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 8},
        {"seed": 7 + 2**32},
        {"seed": -7},
        {"index": 1000},
        {"index": 2**32},
        {"layer": 4},
        {"layer": 3 << 8},
        {"purpose": Purpose.DETAIL},
    ],
    ids=lambda change: "-".join(f"{k}={v}" for k, v in change.items()),
)
def test_draws_of_keys_that_differ_in_one_part_are_uncorrelated(other: dict[str, int]) -> None:
    num = 200

    def draw(seed: int = 7, index: int = 0, layer: int = 3, purpose: int = Purpose.STEP) -> object:
        rows = index + np.arange(num)
        return keyed_normal(np.full(num, seed), rows, layer, Purpose(purpose), SHAPE).flatten()

    pairs = np.stack([draw(), draw(**other)])
    correlation = np.corrcoef(pairs)[0, 1]
    assert abs(correlation) < 5 / np.sqrt(pairs.shape[1])


def test_neighbouring_values_of_a_row_and_neighbouring_rows_are_uncorrelated() -> None:
    draws = keyed_normal(np.full(300, 1), np.arange(300), 0, Purpose.PRIOR, (101,)).numpy()
    for one, other in ((draws[:, 1:], draws[:, :-1]), (draws[1:], draws[:-1])):
        correlation = np.corrcoef(one.ravel(), other.ravel())[0, 1]
        assert abs(correlation) < 5 / np.sqrt(one.size)


def test_a_rows_draw_is_the_same_bits_in_any_batch() -> None:
    seeds = np.array([5, -1, 2**40, -(2**63), 2**63 - 1, 5, 0, 3])
    indices = np.array([0, 1, 2**33, 7, 2**62, 0, -4, 9])
    layers = torch.tensor([0, 1, 2, 3, 4, 0, (1 << 24) - 1, 6])
    whole = keyed_normal(seeds, indices, layers, Purpose.STEP, (3, 7))
    rows = np.random.default_rng(0).permutation(8)
    shuffled = keyed_normal(seeds[rows], indices[rows], layers[rows], Purpose.STEP, (3, 7))
    assert torch.equal(shuffled, whole[rows])
    for i in range(8):
        alone = keyed_normal(seeds[[i]], indices[[i]], int(layers[i]), Purpose.STEP, (3, 7))
        assert torch.equal(alone, whole[i : i + 1])
    assert torch.equal(whole[0], whole[5])  # the same key
    assert len({tuple(row.flatten().tolist()) for row in whole}) == 7


def test_a_shorter_draw_of_uniforms_is_the_start_of_a_longer_one() -> None:
    longer = keyed_uniform([3, 4], [0, 1], 2, Purpose.STEP, (11,))
    assert torch.equal(keyed_uniform([3, 4], [0, 1], 2, Purpose.STEP, (5,)), longer[:, :5])


@pytest.mark.parametrize("layer", [-1, 1 << 24])
def test_a_layer_that_the_counter_cannot_hold_is_refused(layer: int) -> None:
    with pytest.raises(ValueError, match="layer must lie in"):
        keyed_uniform([0], [0], layer, Purpose.STEP)


def test_a_permutation_holds_each_number_once_and_is_uniform() -> None:
    assert sorted(order(3, 1, 1000)) == list(range(1000))
    assert order(3, 1, 1000) == order(3, 1, 1000)
    assert order(3, 1, 1000) != order(3, 2, 1000)
    assert sorted(order(-(2**40), 2**40, 5)) == list(range(5))
    assert order(0, 0, 0) == ()
    far = [order(*key, 9) for key in ((1, 2**63), (1, 2**63 + 1), (2**63, 1))]
    assert len({*far, order(2**63 + 1, 1, 9)}) == 4
    # Each of the 6 orders of 3 numbers is as likely as another: chi-square on 3,000 draws.
    drawn = [order(0, i, 3) for i in range(3000)]
    counts = [drawn.count(one) for one in set(drawn)]
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > 1e-3


def test_orders_of_different_purposes_share_no_key() -> None:
    assert len({order(3, 1, 20, purpose) for purpose in Purpose}) == len(Purpose)


def test_every_purpose_is_drawn_for_and_stands_in_the_pages_table() -> None:
    page = (ROOT / "docs" / "mathematics.md").read_text(encoding="utf-8")
    drawn_for = {
        node.attr
        for folder in ("pipeline", "jobs", "serve")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "Purpose"
    }
    listed = {line.split("`")[1] for line in page.splitlines() if line.startswith("| `")}
    for purpose in Purpose:
        assert purpose.name in drawn_for
        assert purpose.name in listed


def philox4x64(counter: int, key: tuple[int, int]) -> list[int]:
    """Ten rounds in Python's integers, after Random123; a 256-bit counter, four 64-bit words."""
    mask = 2**64 - 1
    c0, c1, c2, c3 = (counter >> 64 * i & mask for i in range(4))
    k0, k1 = key
    for _ in range(10):
        p0, p1 = c0 * 0xD2E7470EE14C6C93, c2 * 0xCA5A826395121157
        c0, c1, c2, c3 = p1 >> 64 ^ c1 ^ k0, p1 & mask, p0 >> 64 ^ c3 ^ k1, p0 & mask
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & mask, (k1 + 0xBB67AE8584CAA73B) & mask
    return [c0, c1, c2, c3]


def test_a_permutation_is_the_order_of_philoxs_words_and_of_no_librarys_shuffle() -> None:
    key, first = (2**64 - 5, 2**63 + 9), int(Purpose.BOUND_ROWS) << 192
    # numpy counts up before it draws
    words = [word for block in (1, 2) for word in philox4x64(first + block, key)]
    expected = sorted(range(7), key=lambda i: words[i])
    assert order(*key, 7, Purpose.BOUND_ROWS) == tuple(expected)
