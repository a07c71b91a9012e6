"""What a user may ask of a stack's sampling, and the answers to what cannot be."""

import math
from dataclasses import replace
from typing import Any, get_args

import pytest
from small_stack import SPEC

from jobs.generate.config import GenerateConfig
from jobs.train_stack.config import TrainStackConfig
from pipeline.errors import UserError
from pipeline.sampling.options import ALL_LEVELS, SamplingOptions
from pipeline.sampling.samplers import SAMPLERS, SamplerName


def test_nothing_asked_is_the_models_own_default() -> None:
    resolved = SamplingOptions().resolve(SPEC)
    assert resolved == SamplingOptions("heun", (2, 3), 1.5, (0.0, ALL_LEVELS), None)
    assert resolved.resolve(SPEC) == resolved


def test_what_is_asked_is_kept() -> None:
    asked = SamplingOptions("ddim", (4, 5), 0.0, (0.1, 9.0), 0.995, 0.7)
    assert asked.resolve(SPEC) == asked


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_each_sampler_is_known_by_its_name(name: str) -> None:
    assert SamplingOptions(sampler=name).resolve(SPEC).sampler == name


def test_configs_know_every_sampler_and_no_other() -> None:
    assert get_args(SamplerName) == tuple(SAMPLERS)
    assert TrainStackConfig.model_fields["sampler"].annotation == SamplerName
    assert GenerateConfig.model_fields["sampler"].annotation == SamplerName | None


def test_a_stack_without_error_curves_draws_by_the_posteriors_variance_and_says_so() -> None:
    untrained = replace(SPEC, errors=(), sampler="ancestral")
    assert SamplingOptions().resolve(untrained).sampler == "ddpm"
    with pytest.raises(UserError, match="this model has none; choose ddpm"):
        SamplingOptions("ancestral").resolve(untrained)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"sampler": "euler"}, "unknown sampler 'euler'; choose one of ancestral, ddpm, ddim"),
        ({"layers": (4,)}, r"layers has 1 numbers, but the model has 2 stages \(of 4, 8 pixels\)"),
        ({"layers": (0, 4)}, "1 at least, the last one 2"),
        ({"layers": (4, 1)}, "1 at least, the last one 2"),
        ({"layers": (4000, 97)}, "4096 at most"),
        ({"guidance": -0.1}, "guidance -0.1 is outside 0 to 100"),
        ({"guidance": math.nan}, "guidance nan is outside"),
        ({"guidance": math.inf}, "guidance inf is outside"),
        ({"guidance_interval": (2.0, 1.0)}, "guidance_low 2 and guidance_high 1"),
        ({"guidance_interval": (math.nan, 1.0)}, "guidance_low nan"),
        ({"rescale": 1.1}, "guidance_rescale 1.1 is outside 0 to 1"),
        ({"rescale": math.nan}, "guidance_rescale nan is outside"),
        ({"threshold": 0.0}, "threshold 0.0 is not a percentile"),
        ({"threshold": 99.5}, "threshold 99.5 is not a percentile"),
    ],
)
def test_what_the_model_cannot_follow_is_one_clear_line(
    asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as raised:
        SamplingOptions(**asked).resolve(SPEC)
    assert "\n" not in str(raised.value)


def test_a_manifest_has_the_rescale_only_where_it_acts_so_that_older_sets_resume() -> None:
    keys = {"sampler", "layers", "guidance", "guidance_interval", "threshold"}
    assert set(SamplingOptions().resolve(SPEC).origin()) == keys
    assert SamplingOptions(rescale=0.7).resolve(SPEC).origin()["rescale"] == 0.7
