"""A classifier behind a stack that purifies what it sees."""

from pathlib import Path

from pipeline.chain.schedule import build_schedule
from pipeline.classifier import FrozenClassifier
from pipeline.errors import UserError
from pipeline.formats.dataset import DatasetInfo
from pipeline.formats.output import sha256_of_json
from pipeline.perturbation.through.entry import ThroughEntry, ThroughOptions
from pipeline.sampling.options import SamplingOptions
from pipeline.sampling.samplers import SAMPLERS
from pipeline.smoothing.bases.opened import open_stack, staged, with_null
from pipeline.smoothing.purifier import PurifiedNetwork, Purifier
from pipeline.stack import Stack

NAME = "purifier"
LAYERS = 4
"""Layers down the chain, unless told otherwise."""


class PurifiedClassifier(FrozenClassifier):
    """A classifier behind a purifier. Asked twice, it gives other logits: its draws are new.

    Attributes:
        purified: the two together.
    """

    def __init__(
        self,
        classifier: FrozenClassifier,
        stack: Stack,
        num_layers: int,
        *,
        straight_through: bool = False,
    ) -> None:
        options = SamplingOptions().resolve(stack.spec)
        assert options.sampler is not None
        assert options.layers is not None
        purifier = Purifier(
            staged(stack),
            build_schedule(stack.spec.stages, options.layers),
            SAMPLERS[options.sampler].build(stack.spec),
            num_layers,
        )
        origin = {
            "kind": "through",
            "through": NAME,
            "stack_sha256": stack.sha256,
            "purifier_layers": num_layers,
            "purifier_sigma": purifier.sigma,
            "sampler": options.sampler,
            "layers": list(options.layers),
            "classifier_sha256": classifier.sha256,
            "classifier": classifier.origin,
        }
        self.purified = PurifiedNetwork(
            purifier, classifier.network, straight_through=straight_through
        )
        super().__init__(
            self.purified,
            classifier.classes,
            classifier.shape,
            sha256=sha256_of_json({**origin, "straight_through": straight_through}),
            rows_per_call=classifier.rows_per_call,
            device=classifier.device,
            origin=origin,
            training_layers=classifier.training_layers,
        )


def load_purifying_stack(path: Path | None, info: DatasetInfo, device: str) -> Stack:
    """A stack that can purify a dataset's pictures; UserError where it cannot."""
    if path is None:
        raise UserError(f"through {NAME} needs --stack, the directory of a stack")
    return with_null(open_stack(path, info, device))


def _open(
    classifier: FrozenClassifier, options: ThroughOptions, info: DatasetInfo
) -> FrozenClassifier:
    stack = load_purifying_stack(options.stack, info, str(classifier.device))
    return PurifiedClassifier(classifier, stack, options.layers or LAYERS)


ENTRY = ThroughEntry(
    NAME,
    "a stack that adds noise to the picture and denoises it again, layer by layer, before the "
    "classifier sees it",
    _open,
)
