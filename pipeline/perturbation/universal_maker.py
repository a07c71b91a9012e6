"""The one perturbation of a universal set: its sample read, the perturbation made and stored. No
Ray."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from pipeline.attacks.engine.rescaled import Rescaled
from pipeline.attacks.methods.universal import UniversalAttack, make_universal
from pipeline.errors import UserError
from pipeline.formats.dataset import load_dataset
from pipeline.formats.keyed_sample import keyed_sample
from pipeline.formats.perturbation.universal import write_delta
from pipeline.perturbation_terms import MARGIN
from pipeline.pictures import to_unit
from pipeline.precision import full_float32
from pipeline.user_models.load import load_same_classifier


class UniversalMaker:
    """Holds a classifier and a dataset, and makes a perturbation for all pictures.

    Args:
        dataset: its directory.
        classifier, weights, rows_per_call, classifier_sha256, device, threshold: as of `Perturber`.
        output: the perturbation set's directory.
        settings: the attack.

    Raises:
        UserError: the classifier is another one here.
    """

    def __init__(
        self,
        *,
        dataset: Path,
        classifier: str,
        output: Path,
        settings: UniversalAttack,
        device: str = "cpu",
        weights: Path | None = None,
        rows_per_call: int | None = None,
        classifier_sha256: str | None = None,
        threshold: float = MARGIN,
    ) -> None:
        self._info = load_dataset(dataset)
        self._classifier = load_same_classifier(
            str(classifier),
            self._info,
            classifier_sha256,
            weights=weights,
            rows_per_call=rows_per_call,
            device=device,
        )
        self._seen = Rescaled(self._classifier, threshold)
        self._output, self._settings = output, settings

    @full_float32()
    def __call__(self, shard: dict[str, Any]) -> dict[str, Any]:
        """Make it.

        Args:
            shard: with ``file``.

        Returns:
            The file, its hash and size; the sample's rows, the hash of their ids (a line each, in
            order), how many were usable and how many of these are fooled; and the passes.

        Raises:
            UserError: the sample holds no picture that can be fooled.
        """
        settings, classifier = self._settings, self._classifier
        sample = keyed_sample(
            self._info,
            settings.sample_split,
            settings.sample_rows,
            settings.seed,
            len(classifier.classes),
        )
        if not sample.ids:
            raise UserError(
                f"no row of {self._info.path}, split {settings.sample_split}, has a label among "
                "the classes; name another --sample-split"
            )
        made = make_universal(
            settings,
            self._seen,
            to_unit(sample.images).to(classifier.device),
            torch.from_numpy(sample.labels).to(classifier.device),
            rows_per_call=classifier.rows_per_call,
        )
        digest, size = write_delta(self._output, made.delta.transpose(1, 2, 0))
        return {
            "file": str(shard["file"]),
            "num_rows": 1,
            "sha256": digest,
            "num_bytes": size,
            "sample_rows": len(sample.ids),
            "sample_sha256": sha256("\n".join(sample.ids).encode()).hexdigest(),
            "sample_usable": made.usable,
            "sample_fooled": made.fooled,
            "restart": made.restart,
            "forwards": made.forwards,
            "backwards": made.backwards,
        }
