"""An image classifier of the library transformers, from a directory that ``save_pretrained`` wrote.

Its image processor must do no more than scaling, which is done in torch, so that gradients reach
the picture; see `pipeline.user_models.processor`. Pictures of another size are not resized: ingest
with ``--resize``. Code in the directory is not run.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.classifier import ROWS_PER_CALL, UNIT_RANGE, FrozenClassifier
from pipeline.errors import UserError
from pipeline.formats.dataset import DatasetInfo
from pipeline.formats.output import sha256_of_file, sha256_of_json
from pipeline.importable import error_line
from pipeline.transformers_log import quiet_transformers
from pipeline.user_models.boundary import UserModule
from pipeline.user_models.processor import Scaling, scaling_of

PROCESSOR_FILE = "preprocessor_config.json"
# Where a processor of several kinds keeps that of pictures; it goes before the other file.
JOINT_FILE = "processor_config.json"
CONFIG_FILE = "config.json"
_LOCAL = {"local_files_only": True, "trust_remote_code": False}


def is_transformers_directory(path: Path) -> bool:
    """Whether a directory is one that ``save_pretrained`` wrote, going by its config."""
    try:
        return "architectures" in json.loads((path / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def load_from_transformers(
    path: Path,
    info: DatasetInfo,
    *,
    rows_per_call: int | None = None,
    device: torch.device | str = "cpu",
) -> FrozenClassifier:
    """An image classifier of transformers, with the dataset's shape and classes.

    Its identity is a hash over its configs and weights. For a model of three channels, grey
    pictures are repeated three times.

    Raises:
        UserError: transformers is not installed, the directory is not such a classifier's, its
            weights are not safetensors, or pictures or classes do not fit.
    """
    try:
        from transformers import AutoConfig, AutoModelForImageClassification
    except ImportError:
        raise UserError(
            f"{path} is a model of transformers, which is not installed; "
            "pip install 'noisestack[text]'"
        ) from None
    processor_files = [name for name in (PROCESSOR_FILE, JOINT_FILE) if (path / name).is_file()]
    if not processor_files:
        raise UserError(
            f"{path} has no {PROCESSOR_FILE}, which says how pictures are scaled for it; "
            "save its image processor there"
        )
    try:
        config = AutoConfig.from_pretrained(path, **_LOCAL)
        _check_classes(config, info, path)
        with quiet_transformers():
            model, loaded = AutoModelForImageClassification.from_pretrained(
                path,
                config=config,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
                **_LOCAL,
            )
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path} is not an image classifier ({error_line(error)})") from None
    if missing := sorted(map(str, loaded["missing_keys"])):
        raise UserError(
            f"{path} lacks {len(missing)} of the weights of {type(model).__name__} ({missing[0]} "
            "and the like), which would be drawn at random; save the whole classifier there"
        )
    channels = _channels(config) or info.shape[2]
    if info.shape[2] not in (1, channels):
        raise UserError(
            f"{path} is for pictures of {channels} channels, those of {info.path} have "
            f"{info.shape[2]}; ingest with --channels {channels}"
        )
    height, width = info.shape[:2]
    scaling = scaling_of(_processor(path), height, width, channels, path=path, dataset=info.path)
    files = [CONFIG_FILE, *processor_files, *sorted(f.name for f in path.glob("*.safetensors"))]
    identity = {"files": {name: sha256_of_file(path / name) for name in files}}
    brought = UserModule(
        _FromUnit(model, scaling),
        len(info.classes),
        what=f"the model of {path}",
        pictures=torch.zeros((1, info.shape[2], height, width)),
    )
    return FrozenClassifier(
        brought,
        info.classes,
        info.shape,
        sha256=sha256_of_json({**identity, "classes": info.classes}),
        rows_per_call=rows_per_call or ROWS_PER_CALL,
        device=device,
        origin={
            "kind": "transformers",
            "architecture": type(model).__name__,
            **identity,
            "preprocessing": {
                **UNIT_RANGE,
                "then": "scale * levels of these channels + offset",
                **asdict(scaling),
            },
        },
    )


class _FromUnit(nn.Module):
    """Maps float32 ``[N, C, H, W]`` in [0, 1] to a model's answer, after a processor's scaling.

    A single channel is repeated for as many as the model has.
    """

    scale: Tensor  # of pictures in [0, 1]
    offset: Tensor

    def __init__(self, model: nn.Module, scaling: Scaling) -> None:
        super().__init__()
        self.model, self.channels = model, list(scaling.channels)
        for name in ("scale", "offset"):
            values = torch.tensor(getattr(scaling, name), dtype=torch.float64).reshape(1, -1, 1, 1)
            self.register_buffer(name, (values * 255 if name == "scale" else values).float())

    def forward(self, x: Tensor) -> Any:
        x = x.expand(-1, len(self.channels), -1, -1)
        if self.channels != sorted(self.channels):
            x = x[:, self.channels]
        return self.model(pixel_values=x * self.scale + self.offset)


def _processor(path: Path) -> Any:
    """A directory's image processor, of the backend that needs no torchvision."""
    import transformers

    # Versions before 5 have another word for it.
    backend = (
        {"backend": "pil"}
        if int(transformers.__version__.partition(".")[0]) >= 5
        else {"use_fast": False}
    )
    try:
        with quiet_transformers():
            return transformers.AutoImageProcessor.from_pretrained(path, **backend, **_LOCAL)
    except Exception as error:
        raise UserError(
            f"the image processor of {path} cannot be loaded ({error_line(error)}); what it does "
            "to a picture is not known without it"
        ) from None


def _channels(config: Any) -> int:
    """The channels that a model takes; 0 where its config does not say."""
    parts = [
        config,
        *(getattr(config, name, None) for name in ("vision_config", "backbone_config")),
    ]
    return next((int(part.num_channels) for part in parts if hasattr(part, "num_channels")), 0)


def _check_classes(config: Any, info: DatasetInfo, path: Path) -> None:
    """Refuses another number of classes, and the dataset's own names in another order.

    Other names are taken to mean the same classes, in the order of the labels.
    """
    names = [str(name) for _, name in sorted(config.id2label.items())]
    if len(names) != len(info.classes):
        raise UserError(
            f"{path} knows {len(names)} classes, and {info.path} has {len(info.classes)}; "
            "use a model of these classes"
        )
    if set(names) == set(info.classes) and names != list(info.classes):
        number = next(n for n, name in enumerate(names) if name != info.classes[n])
        raise UserError(
            f"{path} and {info.path} have the classes in another order: label {number} is "
            f"{names[number]} in the one and {info.classes[number]} in the other"
        )
