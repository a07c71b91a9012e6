"""What a run of `certify` is about: read from its config, and checked before any work."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jobs.certify.config import CertifyConfig
from jobs.common.pools import Pool
from pipeline.certification.certifier import Certifier
from pipeline.certification.doubts import look_at_base
from pipeline.certification.opened import identity_of, open_base
from pipeline.errors import UserError
from pipeline.formats.dataset import DatasetInfo, images_of, load_dataset, read_rows
from pipeline.formats.splits import judged_split
from pipeline.perturbation_terms import TrustWarning
from pipeline.smoothing.base import SmoothingBase
from pipeline.smoothing.bases import BASES
from pipeline.smoothing.bases.entry import BaseOptions
from pipeline.smoothing.record import record_of
from pipeline.smoothing.settings import CertifySettings


@dataclass(frozen=True)
class Task:
    """Rows of a dataset, a base, and how it is certified.

    Attributes:
        config: that it was read from.
        settings: of the certificates.
        info, split, stop: the dataset, and its rows from 0 to ``stop`` of a split.
        base: what is smoothed.
    """

    config: CertifyConfig
    settings: CertifySettings
    info: DatasetInfo
    split: str
    stop: int
    base: SmoothingBase

    @classmethod
    def read(cls, config: CertifyConfig) -> "Task":
        """The task that a config spells; UserError where its parts do not fit each other."""
        settings = config.settings()
        _refuse_idle(config)
        info = load_dataset(config.dataset)
        split = judged_split(info, config.split)
        base = open_base(config.base, BaseOptions(info, **_options(config)), config.sigma)
        rows = info.num_rows(split)
        return cls(config, settings, info, split, min(rows, config.limit or rows), base)

    @property
    def certificate(self) -> dict[str, Any]:
        """What the manifest states of the certificates."""
        height, width, channels = self.info.shape
        return record_of(self.settings, height * width * channels)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the base's answers."""
        return identity_of(self.base)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """All that the set's bytes depend on."""
        return {
            "job": "certify",
            "dataset_sha256": self.info.sha256,
            "base": {key: value for key, value in self.identity.items() if key != "classifier"},
            "split": self.split,
            "rows": self.stop,
            "rows_per_shard": self.config.shard_rows,
            **asdict(self.settings),
        }

    def look(self) -> list[TrustWarning]:
        """What a look at the base shows; UserError where nothing can be certified of it."""
        images = images_of(read_rows(self.info, self.split, 0, min(self.stop, 16)))
        return look_at_base(self.base, images, self.settings)

    def pool(self, output: Path) -> Pool:
        """Actors that hold the base and write shards into a directory."""
        config = self.config
        return Pool(
            Certifier,
            {
                "settings": self.settings,
                "kind": config.base,
                "record": self.identity,
                "dataset": config.dataset,
                "split": self.split,
                "output": output,
                "device": "cuda" if config.gpus_per_worker > 0 else "cpu",
                "quarantine": config.on_bad_row == "quarantine",
                **_options(config),
            },
            num_workers=config.num_workers,
            cpus_per_worker=config.cpus_per_worker,
            gpus_per_worker=config.gpus_per_worker,
        )


def _refuse_idle(config: CertifyConfig) -> None:
    """UserError for an option that the base does not look at: another base was meant."""
    for name, value in _options(config).items():
        if value is not None and name not in BASES[config.base].takes:
            takers = " or ".join(kind for kind, entry in BASES.items() if name in entry.takes)
            raise UserError(
                f"the base {config.base} has no use for {name}: leave it out, or give --base "
                f"{takers}"
            )


def _options(config: CertifyConfig) -> dict[str, Any]:
    """What a base is opened from, besides the dataset."""
    return {
        "classifier": config.classifier,
        "weights": config.weights,
        "rows_per_call": config.rows_per_call,
        "stack": config.stack,
    }
