"""Sets in the layout of Hugging Face's `datasets`: encoded pictures in Parquet, classes by name.

DIR/data/SPLIT-00000-of-00003.parquet ...   the set's columns; each picture a PNG in
                                            struct<bytes, path>
DIR/export.json                             the set, its hash, the files with rows and hashes;
                                            written last

The schema's `huggingface` header says which columns are pictures, and the names of the classes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import UserError
from pipeline.formats import sample_set
from pipeline.formats.dataset import DATASET_FILE, load_dataset
from pipeline.formats.output import read_json, write_json
from pipeline.formats.perturbation import set as perturbation_set
from pipeline.formats.seal import sealed
from pipeline.formats.shard import Shard, images_of, read_range, write_shard
from pipeline.pictures import encode_png

EXPORT_FILE = "export.json"
_FORMAT = 1
_HEADER = b"huggingface"
_PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
# Labels, in which -1 stands for none: Hugging Face's ClassLabel has null for that.
_OF_CLASSES = ("label", "target", "clean_prediction", "adversarial_prediction")
_DTYPES = {pa.float32(): "float32", pa.float64(): "float64"}  # others have Arrow's names
_DEFAULT_SPLIT = "train"  # what `load_dataset` calls the rows of a set without splits


@dataclass(frozen=True)
class FinishedSet:
    """What an export needs to know of a finished set.

    Attributes:
        kind: dataset, sample_set or perturbation_set.
        splits: the shards of each split.
    """

    path: Path
    kind: str
    sha256: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    splits: dict[str, tuple[Shard, ...]]

    def num_rows(self, split: str) -> int:
        """How many rows a split has."""
        return sum(shard.num_rows for shard in self.splits[split])


def open_set(path: Path | str) -> FinishedSet:
    """Opens the dataset, sample set or perturbation set in a directory.

    Raises:
        UserError: the directory holds none, or an unfinished or incomplete one.
    """
    path = Path(path).absolute()
    if not path.is_dir():
        raise UserError(f"there is no directory {path}; check the path")
    if (path / DATASET_FILE).is_file():
        info = load_dataset(path)
        return FinishedSet(path, "dataset", info.sha256, info.shape, info.classes, info.splits)
    manifest = path / sample_set.MANIFEST_FILE
    kind = read_json(manifest).get("kind") if manifest.is_file() else None
    if kind == sample_set.KIND:
        samples = sample_set.open_sample_set(path)
        splits = {_DEFAULT_SPLIT: samples.shards}
        return FinishedSet(path, kind, samples.sha256, samples.shape, samples.classes, splits)
    if kind == perturbation_set.KIND:
        opened = perturbation_set.open_perturbation_set(path)
        height, width, channels = opened.manifest["dataset"]["shape"]
        return FinishedSet(
            path,
            kind,
            str(opened.manifest["content_sha256"]),
            (height, width, channels),
            tuple(opened.manifest["model"]["classes"]),
            {opened.split: opened.shards},
        )
    raise UserError(
        f"{path} is no finished dataset, sample set or perturbation set; give the directory that "
        "ingest, generate or perturb has written"
    )


def hugging_face_table(table: pa.Table, classes: Sequence[str]) -> pa.Table:
    """A set's table with its pictures as PNG, and a header that describes each column.

    A column of labels is left out where there are no classes.
    """
    columns: dict[str, pa.Array | pa.ChunkedArray] = {}
    features: dict[str, Any] = {}
    for field in table.schema:
        if isinstance(field.type, pa.FixedShapeTensorType):
            columns[field.name] = _pictures(table, field.name)
            features[field.name] = {"_type": "Image"}
        elif field.name in _OF_CLASSES:
            if classes:
                labels = table.column(field.name)
                columns[field.name] = pc.if_else(pc.less(labels, 0), None, labels)
                features[field.name] = {"names": list(classes), "_type": "ClassLabel"}
        else:
            columns[field.name] = table.column(field.name)
            dtype = _DTYPES.get(field.type, str(field.type))
            features[field.name] = {"dtype": dtype, "_type": "Value"}
    header = json.dumps({"info": {"features": features}}, ensure_ascii=False)
    return pa.table(columns).replace_schema_metadata({_HEADER: header.encode()})


def _pictures(table: pa.Table, name: str) -> pa.Array:
    ending = ".png" if name == "image" else f".{name}.png"
    paths = [f"{row}{ending}" for row in table.column("id").to_pylist()]
    data = [encode_png(image) for image in images_of(table, name)]
    return pa.StructArray.from_arrays(
        [pa.array(data, pa.binary()), pa.array(paths, pa.string())], fields=list(_PICTURE)
    )


class HuggingFaceWriter:
    """Writes a file of the export: rows `start` to `stop` of a split."""

    def __init__(self, source: FinishedSet, output: Path) -> None:
        self._source, self._output = source, output

    def __call__(self, shard: dict[str, Any]) -> dict[str, Any]:
        """The fields of `Shard`; `shard` has file, split, start and stop."""
        shards = self._source.splits[shard["split"]]
        table = read_range(self._source.path, shards, shard["start"], shard["stop"])
        exported = hugging_face_table(table, self._source.classes)
        return asdict(write_shard(exported, self._output, shard["file"]))


def write_export_info(
    path: Path, source: FinishedSet, files: Mapping[str, Sequence[Shard]]
) -> None:
    """Writes ``export.json``, which completes an export.

    Args:
        files: those of each split, in order.
    """
    write_json(
        path / EXPORT_FILE,
        sealed(
            {
                "format": _FORMAT,
                "kind": "export",
                "source": {"kind": source.kind, "sha256": source.sha256},
                "shape": list(source.shape),
                "classes": list(source.classes),
                "num_rows": {split: source.num_rows(split) for split in source.splits},
                "splits": {
                    split: [asdict(shard) for shard in shards] for split, shards in files.items()
                },
            }
        ),
    )


def class_label_names(schema: pa.Schema, column: str) -> tuple[str, ...]:
    """The names of a ClassLabel in the header that Hugging Face's `datasets` writes; else ().

    Args:
        column: dots lead into structs.
    """
    try:
        feature = json.loads((schema.metadata or {})[_HEADER])["info"]["features"]
        for name in [column] if column in feature else column.split("."):
            feature = feature[name]
        return tuple(map(str, feature["names"]))
    except (KeyError, TypeError, ValueError):
        return ()
