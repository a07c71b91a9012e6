"""Encode a dataset's captions or pictures, once: shards through actors that hold an encoder.

OUTPUT/train-00000.parquet ...   a file for each shard of the dataset
OUTPUT/manifest.json             encoder, dataset, shards; written last
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jobs.common.pools import Pool
from jobs.common.records import Record, remove_records
from jobs.common.set_manifest import versions
from jobs.common.sharded import run_shards
from jobs.embed.config import EmbedConfig
from jobs.embed.kinds import Kind, kind_of
from noisestack.command import Command
from noisestack.session import ray_session
from pipeline.formats.claim import claim_output
from pipeline.formats.dataset import load_dataset
from pipeline.formats.embedding_set import shards_to_embed, write_embedding_manifest
from pipeline.formats.shard import shards_from_json


def main(config: EmbedConfig) -> Path:
    """Makes, or finishes, the embedding set in ``config.output``; returns its directory.

    Raises:
        UserError: the encoder is not at hand or takes no such rows, a row has no caption, or the
            output holds other results.
    """
    info = load_dataset(config.dataset)
    splits = tuple(dict.fromkeys(config.splits or info.splits))
    kind = kind_of(config, info)
    shards, encoder = shards_to_embed(info, splits), kind.encoder
    fingerprint = {
        "job": "embed",
        "dataset_sha256": info.sha256,
        "encoder": {name: value for name, value in asdict(encoder).items() if name != "name"},
        "splits": splits,
    }
    with claim_output(config.output, fingerprint, overwrite=config.overwrite) as output:
        if output.finished:
            print(f"embedding set: {output.path} (finished before)", flush=True)
            return output.path
        kind.check(info, splits)
        with ray_session():
            records = run_shards(
                _pool(config, kind, output.directory),
                shards,
                output.directory,
                describe="embed",
                unit=kind.unit,
            )
        num_cut = kind.tell_cut(records)
        write_embedding_manifest(
            output.directory,
            dataset_sha256=info.sha256,
            encoder=encoder,
            splits={
                split: shards_from_json(_of_split(records, shards, split), output.directory)
                for split in splits
            },
            has_tokens=kind.has_tokens,
            num_cut=num_cut,
            origin={"job": "embed", "versions": {**versions(), **kind.versions()}},
        )
        remove_records(output.directory)
    print(f"embedding set: {output.path}", flush=True)
    return output.path


def _pool(config: EmbedConfig, kind: Kind, output: Path) -> Pool:
    """Actors that hold the encoder and write shards into a directory."""
    return Pool(
        kind.worker,
        {
            "dataset": config.dataset,
            **kind.worker_args(),
            "output": output,
            "device": "cuda" if config.gpus_per_worker else "cpu",
            "threads": config.cpus_per_worker,
        },
        num_workers=config.num_workers,
        cpus_per_worker=config.cpus_per_worker,
        gpus_per_worker=config.gpus_per_worker,
    )


def _of_split(
    records: Sequence[Record], shards: Sequence[dict[str, Any]], split: str
) -> list[Record]:
    return [r for r, shard in zip(records, shards, strict=True) if shard["split"] == split]


COMMAND = Command(EmbedConfig, main, summary="a dataset's captions or pictures through an encoder")
