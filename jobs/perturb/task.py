"""What a run of `perturb` is about: read from its config, and checked before any work."""

from dataclasses import dataclass, replace
from typing import Any

from jobs.common.pools import Pool
from jobs.perturb.config import PerturbConfig
from pipeline.classifier import FrozenClassifier
from pipeline.formats.dataset import DatasetInfo, load_dataset
from pipeline.formats.perturbation.verdict import SHARE
from pipeline.formats.splits import judged_split
from pipeline.perturbation.attack import Record, SetAttack
from pipeline.perturbation.workplace import seen_through
from pipeline.user_models.load import load_classifier


@dataclass(frozen=True)
class Task:
    """Rows of a dataset, a classifier, and the attack on it.

    Attributes:
        config: that it was read from.
        info, split, stop: the dataset, and its rows from 0 to ``stop`` of a split.
        classifier: that is to be fooled.
        attack: its target resolved.
    """

    config: PerturbConfig
    info: DatasetInfo
    split: str
    stop: int
    classifier: FrozenClassifier
    attack: SetAttack

    @classmethod
    def read(cls, config: PerturbConfig) -> "Task":
        """The task that a config spells; UserError where its parts do not fit each other."""
        info = load_dataset(config.dataset)
        split = judged_split(info, config.split)
        attack = config.set_attack()
        config.options().check_sizes(info.shape)
        classifier = load_classifier(
            config.classifier, info, weights=config.weights, rows_per_call=config.rows_per_call
        )
        classifier = seen_through(classifier, config.through_options(), info)
        attack = attack.at_target(classifier.classes)
        rows = info.num_rows(split)
        stop = min(rows, config.limit or rows)
        attack.check_fits(info, split, stop, classifier.sha256)
        return cls(config, info, split, stop, classifier, attack)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """All that the set's bytes depend on."""
        return {
            "job": "perturb",
            "dataset_sha256": self.info.sha256,
            "classifier_sha256": self.classifier.sha256,
            "rows_per_call": self.classifier.rows_per_call,
            "split": self.split,
            "rows": self.stop,
            "rows_per_shard": self.config.rows_per_shard,
            **self.attack.record(),
            "threshold_share": SHARE,
            "export_onnx": self.config.export_onnx,
        }

    @property
    def first_rows(self) -> int:
        """The rows of one call, of which it is seen what kind of classifier this is."""
        return min(self.stop, self.classifier.rows_per_call)

    def with_file(self, file_record: Record) -> "Task":
        """The same, with the file that its attack made first."""
        return replace(self, attack=self.attack.with_file(file_record))

    def pool(self, worker: type, **its_own: Any) -> Pool:
        """Actors that hold the classifier: each a worker in a workplace of this task.

        Args:
            its_own: what the worker takes besides its attack and what `Workplace.opened` takes.
        """
        config = self.config
        return Pool(
            worker,
            {
                "attack": self.attack,
                "dataset": config.dataset,
                "classifier": config.classifier,
                "weights": config.weights,
                "rows_per_call": config.rows_per_call,
                "classifier_sha256": self.classifier.sha256,
                "through": config.through_options(),
                "device": "cuda" if config.gpus_per_worker > 0 else "cpu",
                **its_own,
            },
            num_workers=config.num_workers,
            cpus_per_worker=config.cpus_per_worker,
            gpus_per_worker=config.gpus_per_worker,
        )
