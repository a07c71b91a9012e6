"""A classifier from ``module:function``, which returns a torch module, and a safetensors file.

The module takes float32 ``[N, C, H, W]``, levels / 255, and returns logits ``[N, K]``. Any other
preprocessing (mean and deviation, resizing) belongs inside the module, as operations that have a
gradient. Nothing is unpickled.
"""

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.classifier import ROWS_PER_CALL, UNIT_RANGE, FrozenClassifier
from pipeline.errors import UserError
from pipeline.formats.dataset import DatasetInfo
from pipeline.formats.model import load_weights
from pipeline.formats.output import sha256_of_json
from pipeline.importable import error_line, import_function, source_sha256
from pipeline.user_models.boundary import UserModule, layers_in_training, unwrapped


def load_from_function(
    spec: str,
    info: DatasetInfo,
    *,
    weights: Path | None = None,
    rows_per_call: int | None = None,
    device: torch.device | str = "cpu",
) -> FrozenClassifier:
    """The classifier that a user's function returns, with the dataset's shape and classes.

    Its identity is a hash over the function's name, its source file, and all parameters and buffers
    of the module that it returned.

    Args:
        spec: ``module:function``; the function takes nothing.
        info: of the dataset that the classifier is for.
        weights: a safetensors file with the module's state; None where the function has loaded it.
        rows_per_call: rows in each call; None for 64.

    Raises:
        UserError: the function cannot be imported, raises, or returns no module; the weights are
            missing, a pickle, or do not fit.
    """
    function = import_function(spec)
    try:
        network = function()
    except Exception as error:
        raise UserError(
            f"{spec} raised {error_line(error)}; it is called without arguments"
        ) from None
    if not isinstance(network, nn.Module):
        raise UserError(f"{spec} returned a {type(network).__name__}, not a torch.nn.Module")
    inner = unwrapped(network)
    if weights is not None:
        state = load_weights(weights)
        # Saved from the wrapper or from what is in it: their names differ by a prefix.
        named_alike = set(state) == set(network.state_dict())
        try:
            (network if named_alike else inner).load_state_dict(state)
        except RuntimeError as error:
            reason = error_line(RuntimeError(" ".join(str(error).split()))).partition(": ")[2]
            raise UserError(
                f"the weights {weights} do not fit what {spec} returns ({reason})"
            ) from None
    network = inner
    training_layers = layers_in_training(network)
    rows = rows_per_call or ROWS_PER_CALL
    height, width, channels = info.shape
    brought = UserModule(
        network,
        len(info.classes),
        what=f"the module of {spec}",
        pictures=torch.full((rows, channels, height, width), 0.5),
    )
    identity = {
        "function": spec,
        "source": source_sha256(function),
        "state": state_sha256(network),
        "classes": info.classes,
    }
    return FrozenClassifier(
        brought,
        info.classes,
        info.shape,
        sha256=sha256_of_json(identity),
        rows_per_call=rows,
        device=device,
        training_layers=training_layers,
        origin={
            "kind": "function",
            "function": spec,
            "source_sha256": identity["source"],
            "state_sha256": identity["state"],
            "preprocessing": {**UNIT_RANGE, "then": f"what the module of {spec} does"},
        },
    )


def state_sha256(network: nn.Module) -> str:
    """The hash over names, types, shapes and bytes of all parameters and buffers.

    Of TorchScript also over its code and constants: a frozen module has no other weights.
    """
    digest = hashlib.sha256()
    state = dict(network.named_parameters()) | dict(network.named_buffers())
    for name, part in network.named_modules():
        if isinstance(part, torch.jit.ScriptModule) and hasattr(part, "code_with_constants"):
            code, constants = part.code_with_constants
            digest.update(f"{name} {code}\n".encode())
            for key, value in constants.const_mapping.items():
                if isinstance(value, Tensor):
                    state[f"{name} {key}"] = value
                else:
                    digest.update(f"{name} {key} {value}\n".encode())
    for name, tensor in sorted(state.items()):
        plain = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {plain.dtype} {list(plain.shape)}\n".encode())
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
