"""Encode a dataset's captions, once: shards through actors that hold a frozen language model.

OUTPUT/train-00000.parquet ...   a file for each shard of the dataset
OUTPUT/manifest.json             encoder, dataset, shards; written last
"""

from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jobs.common.pools import Pool
from jobs.common.records import Record, remove_records
from jobs.common.set_manifest import versions
from jobs.common.sharded import run_shards
from jobs.embed.config import EmbedConfig
from noisestack.command import Command
from noisestack.session import ray_session
from pipeline.formats.claim import claim_output
from pipeline.formats.dataset import load_dataset
from pipeline.formats.embedding_set import write_embedding_manifest
from pipeline.formats.encoder_id import EncoderId
from pipeline.formats.shard import shards_from_json
from pipeline.text.embedder import CaptionEmbedder, caption_shards, check_captions
from pipeline.text.encoder import TextEncoder
from pipeline.text.tokens import cut_line


def main(config: EmbedConfig) -> Path:
    """Makes, or finishes, the embedding set in ``config.output``; returns its directory.

    Raises:
        UserError: the encoder is not at hand, a row has no caption, or the output holds other
            results.
    """
    info = load_dataset(config.dataset)
    splits = tuple(dict.fromkeys(config.splits or info.splits))
    shards = caption_shards(info, splits)
    # Opened here only to know it; on the way, what is wrong with it is told before Ray starts.
    encoder = TextEncoder.load(
        config.text_encoder, max_length=config.max_length, pooling=config.pooling
    ).id
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
        check_captions(info, splits)
        with ray_session():
            records = run_shards(
                _pool(config, encoder, output.directory),
                shards,
                output.directory,
                describe="embed",
                unit="captions",
            )
        num_cut = sum(record["num_cut"] for record in records)
        write_embedding_manifest(
            output.directory,
            dataset_sha256=info.sha256,
            encoder=encoder,
            splits={
                split: shards_from_json(_of_split(records, shards, split), output.directory)
                for split in splits
            },
            has_tokens=True,
            num_cut=num_cut,
            origin={
                "job": "embed",
                "versions": {**versions(), "transformers": version("transformers")},
            },
        )
        if num_cut:
            first = next(record["first_cut"] for record in records if record["num_cut"])
            print(cut_line(num_cut, first, encoder.max_length), flush=True)
        remove_records(output.directory)
    print(f"embedding set: {output.path}", flush=True)
    return output.path


def _pool(config: EmbedConfig, encoder: EncoderId, output: Path) -> Pool:
    """Actors that hold the encoder and write shards into a directory."""
    return Pool(
        CaptionEmbedder,
        {
            "dataset": config.dataset,
            "encoder": encoder,
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


COMMAND = Command(EmbedConfig, main, summary="a dataset's captions through a frozen language model")
