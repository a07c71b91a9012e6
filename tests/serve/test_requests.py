"""Bodies that the images API knows, and those it does not."""

import json
import re
from dataclasses import replace
from pathlib import Path

import openai
import pytest
from fake_model import MODEL, error_of, post, run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serve.errors import ApiError
from serve.schema import ImageRequest
from serve.task import task_of


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", 3),
        ("n", 0),
        ("n", 65),
        ("n", "2"),
        ("n", 2.5),
        ("n", True),
        ("seed", -1),
        ("seed", 2**63),
        ("seed", "7"),
        ("sample_index", -1),
        ("sample_index", 2**63 - 1),
        ("layers", "8,4"),
        ("layers", [1.5]),
        ("guidance", "high"),
        ("response_format", "png"),
        ("output_format", "gif"),
        ("output_compression", 101),
        ("num_inference_steps", 0),
        ("negative_prompt", 3),
        ("size", 512),
        ("prompt", "x" * 32_001),
    ],
)
def test_values_out_of_range_or_of_another_type_are_refused(field, value):
    error = error_of(post(**{field: value}), 400)
    assert error["param"] == field
    assert error["code"] == "invalid_value"
    assert len(error["message"]) < 300


@pytest.mark.parametrize(("field", "value"), [("stream", True), ("partial_images", 2)])
def test_streams_are_refused_in_words(field, value):
    error = error_of(post(**{field: value}), 400)
    assert (error["param"], error["code"]) == (field, "unsupported_parameter")


def test_fields_of_the_images_api_without_meaning_here_are_ignored():
    ignored = {
        "quality": "hd",
        "style": "vivid",
        "background": "auto",
        "moderation": "low",
        "user": "someone",
        "output_compression": 100,
        "stream": False,
        "partial_images": 0,
    }
    assert post(seed=1, **ignored).json()["data"] == post(seed=1).json()["data"]


def test_every_parameter_of_the_official_client_is_known():
    parameters = openai.types.image_generate_params.ImageGenerateParamsBase.__annotations__
    assert set(parameters) <= set(ImageRequest.model_fields)


def test_the_documentation_names_every_field_that_means_something():
    text = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
    table = text.partition("## A request's fields")[2].partition("\n\nThe last two")[0]
    documented = {
        name
        for line in table.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`(\w+)`", line.split("|")[1])
    }
    described = {name for name, field in ImageRequest.model_fields.items() if field.description}
    assert documented == described - {"stream", "partial_images", "negative_prompt"}


def test_nulls_count_as_absent():
    nulls = dict.fromkeys(set(ImageRequest.model_fields) - {"prompt", "seed"})
    assert post(seed=1, **nulls).json()["data"] == post(seed=1).json()["data"]
    assert error_of(post(prompt=None), 400)["code"] == "missing_required_parameter"


@pytest.mark.parametrize(("field", "meant"), [("sead", "seed"), ("sampel_index", "sample_index")])
def test_an_unknown_field_is_answered_with_the_nearest(field, meant):
    error = error_of(post(**{field: 1}), 400)
    assert (error["param"], error["code"]) == (field, "unknown_parameter")
    assert f"did you mean '{meant}'" in error["message"]


@pytest.mark.parametrize(
    ("field", "meant"),
    [("width", "size"), ("num_images_per_prompt", "n"), ("cfg_scale", "guidance")],
)
def test_other_programs_names_of_a_field_are_answered_with_its_name_here(field, meant):
    error = error_of(post(**{field: 1}), 400)
    assert (error["param"], error["code"]) == (field, "unknown_parameter")
    assert f"it is called '{meant}' here" in error["message"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"3",
        b"null",
        b'"coat"',
        b"\xff\xfe",
        b'{"prompt": "coat", "guidance": NaN}',
        b'{"prompt": "coat", "guidance": 1e999}',
        b'{"prompt": "\\ud800"}',
        b'{"prompt": "coat", "\\ud800": 1}',
        b'{"prompt": "coat", "seed": ' + b"9" * 6000 + b"}",
        b"[" * 60_000,
    ],
)
def test_a_body_that_is_no_request_is_answered_with_400(body):
    error_of(post(body), 400)


def test_a_form_is_not_taken_for_json():
    async def scenario(server):
        headers = {"content-type": "text/plain"}
        body = b'{"prompt": "coat"}'
        return await server.client.post("/v1/images/generations", headers=headers, content=body)

    assert "application/json" in error_of(run(scenario), 400)["message"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.sampled_from(sorted(ImageRequest.model_fields)) | st.text(max_size=8), json_values
    )
)
def test_any_json_object_is_answered_in_format(fields):
    response = post(json.dumps({"prompt": "coat", **fields}).encode())
    assert response.status_code in (200, 400, 404)
    if response.status_code != 200:
        error_of(response, response.status_code)


def test_a_class_that_nothing_was_trained_on_is_a_400():
    model = replace(MODEL, spec=replace(MODEL.spec, untrained=(3,)))
    assert task_of(ImageRequest(prompt="dress"), model).label == 2
    with pytest.raises(ApiError, match="no picture was trained on for the class 'coat'") as refusal:
        task_of(ImageRequest(prompt="coat"), model)
    assert (refusal.value.status, refusal.value.code) == (400, "untrained_class")
