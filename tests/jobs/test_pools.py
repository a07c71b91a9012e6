"""How many workers each pool gets: what fits, one CPU kept spare, and in proportion to the cost."""

from typing import Any

import pytest

from jobs.common.pools import Pool, pool_sizes


def pool(asked: int | None = None, cpus: float = 1, gpus: float = 0, cost: float = 1) -> Pool:
    return Pool(dict, {}, asked, cpus, gpus, cost)


@pytest.mark.parametrize(
    ("asked", "cpus", "gpus", "resources", "size"),
    [
        (None, 1, 0, {"CPU": 4}, 3),  # one CPU is kept spare
        (2, 1, 0, {"CPU": 4}, 2),
        (8, 1, 0, {"CPU": 4}, 3),
        (None, 1, 0, {"CPU": 1}, 1),
        (None, 2, 0, {"CPU": 8}, 3),
        (None, 0.5, 0, {"CPU": 2}, 2),
        (None, 1, 1, {"CPU": 64, "GPU": 8}, 8),
        (None, 1, 0.25, {"CPU": 64, "GPU": 2}, 8),
        (None, 0, 1, {"CPU": 1, "GPU": 2}, 2),
        (None, 0, 0.1, {"CPU": 1, "GPU": 1}, 10),  # ten tenths are one, whatever floats say
    ],
)
def test_one_pool_fits_the_cluster(
    asked: int | None, cpus: float, gpus: float, resources: dict[str, float], size: int
) -> None:
    assert pool_sizes([pool(asked, cpus, gpus)], resources) == [size]


@pytest.mark.parametrize(
    ("pools", "resources", "sizes"),
    [
        ([pool(), pool()], {"CPU": 9}, [4, 4]),
        ([pool(cost=1), pool(cost=3)], {"CPU": 9}, [2, 6]),
        ([pool(cost=1), pool(cost=2), pool(cost=6)], {"CPU": 10}, [1, 2, 6]),
        ([pool(cost=1), pool(cost=100)], {"CPU": 9}, [1, 7]),  # at least one each
        ([pool(asked=3), pool(cost=1), pool(cost=3)], {"CPU": 12}, [3, 2, 6]),
        ([pool(asked=9), pool()], {"CPU": 5}, [3, 1]),
        ([pool(cpus=1, cost=1), pool(cpus=0, gpus=1, cost=9)], {"CPU": 4, "GPU": 2}, [1, 2]),
        ([pool(), pool()], {"CPU": 2}, [1, 1]),  # without a spare rather than not at all
    ],
)
def test_a_chain_shares_the_cluster_in_proportion_to_the_cost(
    pools: list[Pool], resources: dict[str, float], sizes: list[int]
) -> None:
    assert pool_sizes(pools, resources) == sizes


@pytest.mark.parametrize("chain", [[pool(cpus=5)], [pool(gpus=1)], [pool(), pool(cpus=4)]])
def test_a_worker_that_does_not_fit_yet_is_asked_for_all_the_same(chain: list[Any]) -> None:
    assert pool_sizes(chain, {"CPU": 4}) == [1] * len(chain)  # an autoscaler starts nodes for it
