"""The classifier network: it fits the pictures it is for, and is a function of each row alone."""

import pytest
import torch

from pipeline.errors import UserError
from pipeline.networks.classifier import ClassifierNetwork, ClassifierShape


@pytest.mark.parametrize(
    ("height", "width", "channels", "widths"),
    [
        (8, 8, 1, (16, 64)),
        (28, 28, 1, (16, 32, 64)),
        (64, 64, 3, (8, 16, 32, 64)),
        (9, 13, 3, (8,)),
    ],
)
def test_logits_and_features_have_their_shapes(
    height: int, width: int, channels: int, widths: tuple[int, ...]
) -> None:
    network = ClassifierNetwork(ClassifierShape(height, width, channels, 7, widths))
    x = torch.rand(3, channels, height, width)
    features = network.features(x)
    assert features.shape == (3, widths[-1])
    assert features.shape[1] == network.num_features
    assert (features >= 0).all()
    torch.testing.assert_close(network(x), network.head(features))
    assert network(x).shape == (3, 7)


@pytest.mark.parametrize("stem_stride", [1, 2])
@pytest.mark.parametrize(("height", "width"), [(28, 28), (9, 13), (8, 7)])
def test_features_that_are_not_pooled_are_those_of_each_place(
    height: int, width: int, stem_stride: int
) -> None:
    torch.manual_seed(0)
    shapes = [
        ClassifierShape(height, width, 1, 4, (8, 16), pooled=pooled, stem_stride=stem_stride)
        for pooled in (True, False)
    ]
    pooled, placed = (ClassifierNetwork(shape) for shape in shapes)
    weights = pooled.state_dict()
    del weights["head.weight"]
    placed.load_state_dict(weights, strict=False)
    x = torch.rand(3, 1, height, width)
    each = placed.features(x)
    assert each.shape == (3, placed.num_features)
    assert placed(x).shape == (3, 4)
    torch.testing.assert_close(each.reshape(3, 16, -1).mean(dim=2), pooled.features(x))


def test_training_and_evaluation_mode_are_the_same_function() -> None:
    torch.manual_seed(0)
    network = ClassifierNetwork(ClassifierShape(8, 8, 1, 4, (16, 32)))
    x = torch.rand(5, 1, 8, 8)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert torch.equal(network.train()(x), network.eval()(x))
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), f"{name} changed by a forward pass"


def test_a_rows_logits_do_not_depend_on_the_other_rows() -> None:
    torch.manual_seed(0)
    network = ClassifierNetwork(ClassifierShape(8, 8, 1, 4, (16, 32)))
    x = torch.rand(6, 1, 8, 8)
    other = x.clone()
    other[1:] = torch.rand(5, 1, 8, 8)
    assert torch.equal(network(x)[0], network(other)[0])


def test_blocks_deepen_each_level() -> None:
    one = ClassifierNetwork(ClassifierShape(8, 8, 1, 4, (16, 32), blocks=1))
    three = ClassifierNetwork(ClassifierShape(8, 8, 1, 4, (16, 32), blocks=3))
    assert len(three.blocks) == 3 * len(one.blocks)
    assert three(torch.rand(2, 1, 8, 8)).shape == (2, 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_classes": 1}, "at least 2 classes"),
        ({"widths": (12,)}, "multiples of 8"),
        ({"widths": ()}, "multiples of 8"),
        ({"blocks": 0}, "blocks must be"),
        ({"widths": (8, 8, 8, 8, 8)}, "fewer widths"),
        ({"widths": (8, 8, 8, 8), "stem_stride": 2}, "stem_stride of 2; give fewer widths"),
        ({"stem_stride": 3}, "stem_stride must be 1 or 2"),
    ],
)
def test_an_impossible_shape_is_a_user_error(change: dict[str, object], message: str) -> None:
    values: dict[str, object] = {
        "height": 8, "width": 8, "channels": 1, "num_classes": 10, "widths": (8, 16), **change
    }  # fmt: skip
    with pytest.raises(UserError, match=message):
        ClassifierShape(**values)  # type: ignore[arg-type]
