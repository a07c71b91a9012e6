"""Whatever form a user's module has, it is the same function here, or refused in one line before
an attack begins."""

import copy
import sys
import types
import warnings

import numpy as np
import pytest
import safetensors.torch
import torch
from digit_models import digit_network
from digit_set import CLASSES, digits
from torch import nn

from pipeline.attacks.base import Norm
from pipeline.attacks.settings import AttackSettings
from pipeline.attacks.trust.model_check import look_at_model
from pipeline.errors import UserError
from pipeline.formats.dataset import DatasetInfo
from pipeline.perturbation.built_in import perturb_rows
from pipeline.pictures import to_unit
from pipeline.user_models.boundary import UserModule
from pipeline.user_models.load import load_classifier

ROWS = 16


def plain():
    """A small network of layers that act otherwise in training."""
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(),
        nn.Linear(144, 10),
    )  # fmt: skip


class Around(nn.Module):
    """What a function of the answer is made into, in evaluation mode."""

    def __init__(self, then):
        super().__init__()
        self.net, self.then = plain().eval(), then

    def forward(self, x):
        return self.then(self.net(x))


class Halved(nn.Module):
    """A module that casts its pictures itself."""

    def __init__(self):
        super().__init__()
        self.net = plain().bfloat16()

    def forward(self, x):
        return self.net((x - 0.5).bfloat16() + 0.5)


class Inferring(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = plain().eval()

    @torch.inference_mode()
    def forward(self, x):
        return self.net(x)


def script(network):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(network)


def frozen():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.freeze(script(plain().eval()))


def traced():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.trace(plain().eval(), torch.rand(2, 1, 8, 8))


def exported():
    example, rows = torch.rand(2, 1, 8, 8), torch.export.Dim("rows")
    return torch.export.export(plain().eval(), (example,), dynamic_shapes=({0: rows},)).module()


def compiled_in_place():
    network = plain()
    network.compile()
    return network


@pytest.fixture
def loaded(monkeypatch):
    """The classifier of what a function returns."""
    module = types.ModuleType("boundary_nets")
    monkeypatch.setitem(sys.modules, "boundary_nets", module)
    info = DatasetInfo("D", (8, 8, 1), CLASSES, {}, False, "")

    def load(build, weights=None):
        module.build = build
        return load_classifier("boundary_nets:build", info, weights=weights, rows_per_call=ROWS)

    return load


def look(classifier, images, labels, **how):
    return look_at_model(
        classifier, to_unit(images), torch.from_numpy(labels),
        num_classes=len(CLASSES), rows_per_call=ROWS, **how,
    )  # fmt: skip


FORMS = {
    "bfloat16": (lambda: plain().bfloat16(), 0.05),
    "float16": (lambda: plain().half(), 0.01),
    "float64": (lambda: plain().double(), 1e-5),
    "casts itself": (Halved, 0.05),
    "half logits": (lambda: Around(lambda z: z.half()), 0.01),
    "script": (lambda: script(plain()), 1e-5),
    "frozen script": (frozen, 1e-5),
    "traced": (traced, 1e-5),
    "exported": (exported, 1e-5),
    "data parallel": (lambda: nn.DataParallel(plain()), 1e-5),
    "compiled": (lambda: torch.compile(plain()), 1e-5),
    "compiled in place": (compiled_in_place, 1e-5),
    "logits": (lambda: Around(lambda z: types.SimpleNamespace(logits=z)), 1e-5),
    "mapping": (lambda: Around(lambda z: {"logits": z, "hidden": None}), 1e-5),
    "tuple": (lambda: Around(lambda z: (z, z[:, :3])), 1e-5),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_module_is_the_same_function_and_can_be_attacked(loaded, form):
    build, close = FORMS[form]
    classifier = loaded(build)
    images = digits()[0][:ROWS]
    reference = plain().eval()
    with torch.no_grad():
        expected = reference(to_unit(images))
    labels = expected.argmax(dim=1).numpy()
    found = classifier.logits_of(images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=close)
    told = {warning.code for warning in look(classifier, images, labels)}
    assert told <= {"training_mode"}
    settings = AttackSettings("pgd", Norm.LINF, 4, 2, None, 1, seed=0)
    stored, attacked, _ = perturb_rows(classifier, settings, images, labels, np.arange(ROWS))
    assert (stored != images).any()
    assert np.isfinite(classifier.logits_of(stored)).all()
    assert int(attacked.backwards.sum()) > 0


@pytest.mark.parametrize("wrapper", [nn.DataParallel, torch.compile], ids=["parallel", "compiled"])
@pytest.mark.parametrize("of_wrapper", [False, True])
def test_weights_saved_from_a_wrapper_or_from_its_inside_fit_both(
    loaded, tmp_path, wrapper, of_wrapper
):
    trained = plain()
    with torch.no_grad():
        trained[5].bias += torch.arange(10.0)
    state = (wrapper(trained) if of_wrapper else trained).state_dict()
    safetensors.torch.save_file(state, tmp_path / "weights.safetensors")
    classifier = loaded(lambda: wrapper(plain()), weights=tmp_path / "weights.safetensors")
    images = digits()[0][:3]
    with torch.no_grad():
        expected = trained.eval()(to_unit(images))
    np.testing.assert_allclose(classifier.logits_of(images), expected, rtol=0, atol=1e-5)


def test_the_layers_of_a_script_that_came_in_training_mode_are_named(loaded):
    assert loaded(lambda: script(plain())).training_layers == ("1", "3")
    assert loaded(plain).training_layers == ("1", "3")
    assert loaded(frozen).training_layers == ()


def test_a_frozen_scripts_weights_are_in_its_identity(loaded):
    first = plain().eval()
    second = copy.deepcopy(first)
    with torch.no_grad():
        second[5].bias[0] += 1

    def freeze(network):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.jit.freeze(script(network))

    assert loaded(lambda: freeze(first)).sha256 == loaded(lambda: freeze(first)).sha256
    assert loaded(lambda: freeze(first)).sha256 != loaded(lambda: freeze(second)).sha256


class Shifting(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = plain().eval()

    def forward(self, x):
        x -= 0.5
        return self.net(x)


class Rounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, gradient):
        raise RuntimeError("no derivative\nat all")


@pytest.mark.parametrize(
    ("build", "uses_gradients", "message"),
    [
        (lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(10)), True, "in evaluation mode"),
        (Shifting, False, r"in place; write x = x - mean where it has x -= mean"),
        (Shifting, True, "raised RuntimeError: .*leaf"),
        (Inferring, True, "have no gradient by the picture"),
        (lambda: Around(lambda z: (z, 2 * z)), True, r"a tuple with 2 tensors \[N, 10\], not a te"),
        (lambda: Around(lambda z: [z[0]]), True, r"returns a list with 0 tensors \[N, 10\]"),
        (lambda: Around(lambda z: None), True, "returns a NoneType, not a tensor of logits"),
        (lambda: Around(lambda z: z.argmax(dim=1)), True, r"returns torch.int64 \[16\]"),
        (lambda: Around(Rounded.apply), True, "gradient of the .* raised RuntimeError: no deriv"),
        (lambda: Around(lambda z: z * 1j), True, "returns torch.complex64"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_line_before_the_attack(
    loaded, build, uses_gradients, message
):
    images, labels = digits()[0][:ROWS], digits()[1][:ROWS]
    with pytest.raises(UserError, match=message) as refused:
        look(loaded(build), images, labels, uses_gradients=uses_gradients)
    assert "\n" not in str(refused.value)


def test_logits_made_in_inference_mode_can_be_worked_on(loaded):
    classifier = loaded(Inferring)
    images, labels = digits()[0][:ROWS], digits()[1][:ROWS]
    assert look(classifier, images, labels, uses_gradients=False) == []
    with torch.no_grad():
        logits = classifier(to_unit(images))
    logits += 1
    assert not logits.is_inference()


def test_a_module_stays_in_evaluation_mode():
    brought = UserModule(digit_network(), 10, what="it", pictures=torch.zeros(1, 1, 8, 8)).train()
    assert not any(part.training for part in brought.modules())
