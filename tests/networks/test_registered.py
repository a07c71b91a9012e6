"""The networks of stacks: what the stack tells them apart by is what their entries say."""

from dataclasses import replace
from typing import Literal, get_args

import pytest
import torch
from small_stack import SPEC, prior_spec

from jobs.train_stack.config import TrainStackConfig
from pipeline.networks import NETWORKS, PICTURE_NETWORKS, VECTOR_NETWORKS, NetworkName
from pipeline.networks.base import pyramid
from pipeline.stack import Stack
from pipeline.stack_spec import StackSpec


def test_the_config_offers_the_networks_that_there_are() -> None:
    assert get_args(NetworkName) == tuple(NETWORKS)
    offered = TrainStackConfig.model_fields["network"].annotation
    assert offered == Literal[tuple(PICTURE_NETWORKS)]
    assert get_args(offered) + tuple(VECTOR_NETWORKS) == tuple(NETWORKS)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_each_network_works_in_every_stage_and_its_name_is_stored(name: str) -> None:
    spec = replace(prior_spec(SPEC.condition) if NETWORKS[name].vectors else SPEC, network=name)
    assert StackSpec.from_json(spec.to_json(), "m").network == name
    stack = Stack.fresh(spec, 0)
    assert len(stack.networks) == (1 if NETWORKS[name].shared else len(spec.stages))
    for stage, place in enumerate(spec.stages):
        pictures = pyramid(torch.zeros(2, spec.shape[2], place.side, place.side), stage)
        kept = torch.ones(2, spec.num_features(stage))
        out = stack.network_of(stage)(pictures, torch.zeros(2), None, kept)
        assert out.shape == pictures[-1].shape
