"""What a config names, opened: each classifier as a rule whose boundary is looked at."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jobs.boundary.config import BoundaryConfig
from pipeline.attacks.base import Model
from pipeline.boundary.rule import DecisionRule
from pipeline.boundary.votes import smoothed_rule
from pipeline.classifier import FrozenClassifier
from pipeline.errors import UserError
from pipeline.formats.dataset import DatasetInfo
from pipeline.perturbation.trust import look_at_rows
from pipeline.perturbation_terms import TrustWarning
from pipeline.smoothing.base import OfClassifier, SmoothingBase
from pipeline.smoothing.bases import BASES
from pipeline.smoothing.bases.entry import BaseOptions
from pipeline.smoothing.denoised import OfDenoised
from pipeline.smoothing.noise import GaussianNoise
from pipeline.user_models.load import load_classifier

_ATTACK = "ddn"  # what the look at a classifier takes for granted: that gradients are followed


@dataclass(frozen=True)
class Opened:
    """A classifier that is looked at.

    Attributes:
        name: that the config gives it.
        rule: how it answers.
        identity: all that its answers depend on, as JSON can hold it.
        warnings: what speaks against what is measured on it.
    """

    name: str
    rule: DecisionRule
    identity: dict[str, Any]
    warnings: tuple[TrustWarning, ...] = ()

    @property
    def title(self) -> str:
        """The name, and the σ of one that is smoothed."""
        sigma = self.identity.get("sigma")
        return self.name if sigma is None else f"{self.name}, σ = {sigma:g}"


def open_all(config: BoundaryConfig, info: DatasetInfo, split: str) -> tuple[Opened, ...]:
    """Opens all that a config names.

    Raises:
        UserError: one is not there, does not fit the dataset, or cannot be looked at.
    """
    if not info.classes:
        raise UserError(f"{info.path} has no labels, so no answer is right or wrong there")
    return tuple(_open(config, name, info, split) for name in config.names)


def _open(config: BoundaryConfig, name: str, info: DatasetInfo, split: str) -> Opened:
    spec, weights = config.classifiers.get(name), config.weights.get(name)
    sigma, stack = config.sigmas.get(name), config.stacks.get(name)
    classifier: FrozenClassifier | None = None
    warnings: Sequence[TrustWarning] = ()
    if spec is not None:
        classifier = load_classifier(
            spec, info, weights=weights, rows_per_call=config.rows_per_call
        )
        warnings = look_at_rows(classifier, _ATTACK, info, split, info.num_rows(split))
    if sigma is None:
        assert classifier is not None
        rule = DecisionRule.of_logits(classifier, classifier.rows_per_call)
        identity = {
            "classifier_sha256": classifier.sha256,
            "rows_per_call": classifier.rows_per_call,
        }
        return Opened(name, rule, identity, tuple(warnings))
    noise = GaussianNoise(sigma)
    base: SmoothingBase
    model: Model | None
    if stack is None:
        assert classifier is not None
        base, model = OfClassifier(classifier), classifier
    else:
        kind = "stack" if spec is None else "denoised"
        options = BaseOptions(
            info, classifier=spec, weights=weights, rows_per_call=config.rows_per_call, stack=stack
        )
        base = BASES[kind].open(options, sigma, "cpu")
        # The stack's own answer has no gradient.
        model = base.logits if isinstance(base, OfDenoised) else None
    rule = smoothed_rule(
        base,
        model,
        noise,
        draws=config.draws,
        slope_draws=config.slope_draws,
        seed=config.seed,
    )
    identity = {
        **base.record(), "sigma": sigma, "draws": config.draws, "slope_draws": config.slope_draws,
    }  # fmt: skip
    return Opened(name, rule, identity, tuple(warnings))
