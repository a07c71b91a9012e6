"""The folder that the bad inputs of docs/refused.md name: small, and written without Ray.

dataset       ten digits' classes, 8×8 pixels, 60 rows in train and 20 in test
unlabelled    the same pictures without labels
captioned     the same with captions in their place
stack         an untrained stack of the digits; pickled: the same with a pickle in its place
classifier    an untrained classifier of the digits; wide: one of pictures of 16×16
samples       a sample set of eight rows
pictures      a folder with one sub-folder a class; damaged: the same with a file cut short
inpainting    a picture without a transparent pixel, one of another size, one in colours, a mask
numbers       Parquet files of labels and pictures that do not hold together
classifiers.py  functions that build classifiers nobody can attack or certify
*.yaml        configs
"""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from sklearn.datasets import load_digits

from pipeline.chain.schedule import Stage
from pipeline.classifier import save_classifier
from pipeline.conditions import ConditionSpec, embedded_condition
from pipeline.formats.dataset import dataset_table, write_dataset_info, write_shard
from pipeline.formats.encoder_id import EncoderId
from pipeline.formats.sample_set import sample_table, write_manifest
from pipeline.networks.classifier import ClassifierNetwork, ClassifierShape
from pipeline.pictures import encode_png
from pipeline.stack import Stack, save_stack
from pipeline.stack_spec import StackSpec

CLASSES = tuple("0123456789")
_SPLITS = {"train": range(60), "test": range(60, 80)}

_CLASSIFIERS = '''"""Classifiers that nobody can attack or certify; each function builds one."""

import torch
from torch import nn


class _Linear(nn.Module):
    def __init__(self, then):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("weight", torch.randn(64, 10, generator=generator))
        self.then = then

    def forward(self, x):
        return self.then(x.flatten(1) @ self.weight)


def probabilities():
    return _Linear(lambda z: z.softmax(dim=1))


def nan():
    return _Linear(lambda z: z * float("nan"))


def chance():
    return _Linear(lambda z: z + torch.randn_like(z))


def mixing():
    return _Linear(lambda z: z - z[0])


def no_gradient():
    return _Linear(lambda z: z.detach())


def three_classes():
    return _Linear(lambda z: z[:, :3])


def constant():
    return _Linear(lambda z: z * 0)


def offset():
    return _Linear(lambda z: 1e6 + z * 1e-3)


def raises():
    return _Linear(lambda z: z.reshape(-1, 7))


def not_a_module():
    return 3
'''
# Folders that hold one picture under each of these names.
_FOLDERS = {
    "stray": ("cat/0.png", "1.png"),
    "split_or_class": ("train/cat/0.png", "test/cat/1.png", "birds/2.png"),
    "one_level_too_high": ("images/train/cat/0.png", "images/test/cat/1.png"),
    "half_divided": ("cat/train/0.png", "cat/test/1.png", "dog/2.png"),
    "reserved": ("cat/0.png", "<none>/1.png"),
    "loop": ("cat/0.png",),
    "named_again": ("0.png", "1.png"),
    "named_outside": ("0.png", "1.png"),
    "unnamed": ("0.png", "1.png"),
}
_METADATA = {
    "named_again": "file_name,label\n0.png,cat\n0.png,dog\n",
    "named_outside": "file_name,label\n0.png,cat\n../pictures/cat/0.png,dog\n",
    "unnamed": "file_name,animal\n0.png,cat\n1.png,dog\n",
}
_FILES = {
    "classifiers.py": _CLASSIFIERS,
    "unknown_key.yaml": "output: out\nstepz: 5\n",
    "key_twice.yaml": "output: out\nseed: 1\nseed: 2\n",
    "no_mapping.yaml": "- output\n",
    "weights.pt": "a pickle, as far as its name says",
}


def write_inputs(place: Path) -> None:
    """Writes all that the module's docstring lists into a folder."""
    images, labels = _digits()
    for name, content in _FILES.items():
        (place / name).write_text(content)
    _write_dataset(place / "dataset", images, labels)
    _write_dataset(place / "unlabelled", images, None)
    captions = [f"a handwritten {CLASSES[label]}" for label in labels]
    _write_dataset(place / "captioned", images, None, captions)
    _write_models(place)
    rows = np.arange(8)
    shard = write_shard(
        sample_table(0, rows, rows % 10, images[rows]), place / "samples", "part-00000.parquet"
    )
    write_manifest(
        place / "samples", shape=(8, 8, 1), classes=CLASSES, shards=[shard], origin={"seed": 0}
    )
    _write_folders(place, images)
    _write_parquet(place / "numbers", images)
    _write_pictures(place / "inpainting", images[0, :, :, 0])
    (place / "empty").mkdir()
    for name in ("stack", "samples"):
        shutil.copytree(place / name, place / "several" / name)


def _digits() -> tuple[np.ndarray, np.ndarray]:
    stored = load_digits()
    images = np.rint(stored.images[:80] * (255 / 16)).astype(np.uint8)[..., None]
    return images, stored.target[:80].astype(np.int64)


def _write_dataset(
    path: Path, images: np.ndarray, labels: np.ndarray | None, captions: list[str] | None = None
) -> None:
    splits = {}
    for split, rows in _SPLITS.items():
        table = dataset_table(
            [f"digit-{i}" for i in rows],
            images[list(rows)],
            None if labels is None else labels[list(rows)],
            None if captions is None else [captions[row] for row in rows],
        )
        splits[split] = [write_shard(table, path, f"{split}/part-00000.parquet")]
    write_dataset_info(
        path,
        shape=(8, 8, 1),
        classes=() if labels is None else CLASSES,
        splits=splits,
        has_captions=captions is not None,
        origin={},
    )


def _write_models(place: Path) -> None:
    spec = StackSpec(
        shape=(8, 8, 1),
        classes=CLASSES,
        condition=ConditionSpec("label", len(CLASSES)),
        stages=(Stage(4, 40.0, 3.0), Stage(8, 3.0, 0.02)),
        sigma_data=(1.3, 0.7),
        tau2=(((0.2,), (0.1,), (0.05,)),),
        network="nested",
        widths=(8, 8),
        blocks=(1, 1),
        embedding=8,
        dropout=0.0,
        rows_per_call=4,
        layers=(2, 3),
    )
    save_stack(Stack(spec), {}, place / "stack", {})
    save_stack(
        Stack(replace(spec, classes=(), condition=ConditionSpec("none", 0))),
        {},
        place / "unconditional",
        {},
    )
    encoder = EncoderId("a-text-encoder", "0" * 64, "0" * 64, 4, "mean", 6)
    sentences = replace(spec, classes=(), condition=embedded_condition("text", encoder))
    save_stack(Stack(sentences), {}, place / "sentences", {})
    (place / "prompts.txt").write_text("a cat\n\na dog\n")
    shutil.copytree(place / "stack", place / "pickled")
    (place / "pickled" / "nested.safetensors").unlink()
    (place / "pickled" / "nested.pt").write_bytes(b"\x80\x04")
    for name, side in (("classifier", 8), ("wide", 16)):
        network = ClassifierNetwork(ClassifierShape(side, side, 1, 10, widths=(8,)))
        save_classifier(place / name, network, CLASSES, {})


def _write_folders(place: Path, images: np.ndarray) -> None:
    for number, name in enumerate(("cat", "dog")):
        for i in range(3):
            path = place / "pictures" / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_png(images[10 * number + i]))
    shutil.copytree(place / "pictures", place / "damaged")
    whole = (place / "damaged" / "dog" / "1.png").read_bytes()
    (place / "damaged" / "dog" / "1.png").write_bytes(whole[: len(whole) // 2])
    shutil.copytree(place / "pictures", place / "mixed")
    Image.new("RGB", (9, 5)).save(place / "mixed" / "cat" / "2.png")
    picture = encode_png(images[0])
    for folder, names in _FOLDERS.items():
        for name in names:
            path = place / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture)
    (place / "loop" / "dog").mkdir()
    (place / "loop" / "dog" / "again").symlink_to(place / "loop")
    for folder, text in _METADATA.items():
        (place / folder / "metadata.csv").write_text(text)


def _write_pictures(place: Path, image: np.ndarray) -> None:
    place.mkdir()
    alpha = np.where(np.arange(8) < 4, 255, 0).astype(np.uint8)[:, None].repeat(8, axis=1)
    Image.fromarray(image).save(place / "opaque.png")
    Image.fromarray(np.dstack((image, alpha)), "LA").save(place / "mask.png")
    Image.fromarray(np.dstack((image, 0 * alpha)), "LA").save(place / "nothing.png")
    Image.fromarray(image[:4, :4]).save(place / "small.png")
    colours = np.dstack((image, image, 255 - image, alpha))
    Image.fromarray(colours, "RGBA").save(place / "colours.png")


def _write_parquet(place: Path, images: np.ndarray) -> None:
    place.mkdir()
    pictures = pa.array([encode_png(image) for image in images[:4]])
    tables = {
        "no_label": {"image": pictures},
        "null_label": {"image": pictures, "label": [0, 1, None, 1]},
        "id_twice": {"image": pictures, "label": [0, 1, 0, 1], "id": ["a", "b", "a", "c"]},
        "split_unknown": {"image": pictures, "label": [0, 1, 0, 1], "split": ["train", "x"] * 2},
        "float_label": {"image": pictures, "label": [0.0, 1.0, 0.5, 1.0]},
        "text_image": {"image": ["a", "b", "c", "d"], "label": [0, 1, 0, 1]},
    }
    for name, columns in tables.items():
        (place / name).mkdir()
        pq.write_table(pa.table(columns), place / name / "part.parquet")
    twice = pa.Table.from_arrays([pictures, pa.array([0, 1, 0, 1])] * 2, ["image", "label"] * 2)
    (place / "two_labels").mkdir()
    pq.write_table(twice, place / "two_labels" / "part.parquet")
    (place / "hive" / "split=holiday").mkdir(parents=True)
    pq.write_table(
        pa.table({"image": pictures, "label": [0, 1, 0, 1]}),
        place / "hive" / "split=holiday" / "part.parquet",
    )
    (place / "cut.parquet").write_bytes(b"PAR1")
    pq.write_table(pa.table({"label": [0, 1, 10]}), place / "labels.parquet")
