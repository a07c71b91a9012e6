"""The keys of `train-classifier` that belong together, and what they spell."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from jobs.train_classifier.config import TrainClassifierConfig
from pipeline.errors import UserError
from pipeline.training.averaging import Averaging
from pipeline.training.objectives.ascent_l2 import AscentL2
from pipeline.training.objectives.cat_rs import CatRs
from pipeline.training.objectives.consistency import Consistency
from pipeline.training.objectives.gaussian import GaussianAugmentation
from pipeline.training.objectives.inner import InnerAttack
from pipeline.training.objectives.natural import CrossEntropy
from pipeline.training.objectives.noisy import NoisyCopies
from pipeline.training.objectives.pgd import PgdTraining
from pipeline.training.objectives.smoothadv import SmoothAdv
from pipeline.training.objectives.trades import Trades


def config(**change: object) -> TrainClassifierConfig:
    values: dict[str, object] = {"dataset": Path("data"), "output": Path("run"), **change}
    return TrainClassifierConfig(**values)


def test_the_keys_spell_the_objective() -> None:
    assert config().recipe().objective == CrossEntropy()
    assert config().recipe().averaging is None
    spelt = config(
        adversarial_loss="trades", eps=0.1, attack_steps=3, attack_step_size=0.5, eps_warmup=9,
        trades_beta=4, ema_halflife=1000, batch_size=64,
    ).recipe()  # fmt: skip
    assert spelt.objective == Trades(InnerAttack(25, 3, 0.5, 9), 4.0)  # 25.5 levels, downwards
    assert spelt.averaging == Averaging(1000.0, 64)
    assert config(adversarial_loss="pgd", eps=0.1).objective() == PgdTraining(InnerAttack(25))
    noise: dict[str, object] = {"noise_sigma": 0.25, "noise_draws": 3}
    copies = NoisyCopies(0.25, 3)
    assert config(adversarial_loss="gaussian", **noise).objective() == GaussianAugmentation(copies)
    assert config(
        adversarial_loss="consistency", consistency_weight=7, entropy_weight=0.25, **noise
    ).objective() == Consistency(copies, 7.0, 0.25)
    ball: dict[str, object] = {"eps_l2": 1, "attack_steps": 4, "attack_step_size": 0.5, **noise}
    ascent = AscentL2(1.0, 4, 0.5, 9)
    spelt_out = config(adversarial_loss="smoothadv", eps_warmup=9, **ball).objective()
    assert spelt_out == SmoothAdv(copies, ascent)
    spelt_out = config(adversarial_loss="cat_rs", eps_warmup=9, worst_weight=2, **ball).objective()
    assert spelt_out == CatRs(copies, ascent, 2.0)


def test_two_copies_are_the_fewest_that_can_agree() -> None:
    alone = config(adversarial_loss="consistency", noise_sigma=0.25, noise_draws=1)
    with pytest.raises(UserError, match="noise_draws must be at least 2, not 1"):
        alone.objective()


def test_runs_without_noise_are_known_by_the_keys_that_they_always_had() -> None:
    assert not {"noise_sigma", "noise_draws", "eps_l2"} & {*config().fingerprint()}
    smooth = config(adversarial_loss="gaussian", noise_sigma=0.25)
    assert smooth.fingerprint()["noise_sigma"] == 0.25
    assert "worst_weight" not in smooth.fingerprint()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"adversarial_loss": "pgd"}, "adversarial_loss pgd needs eps"),
        ({"adversarial_loss": "cw", "eps": 0.1}, "adversarial_loss"),
        ({"eps": 0.1}, "eps is for adversarial_loss pgd or trades"),
        ({"attack_steps": 2}, "attack_steps is for adversarial_loss cat_rs or pgd or smoothadv"),
        ({"noise_sigma": 0.5}, "noise_sigma is for adversarial_loss cat_rs or consistency or gau"),
        ({"adversarial_loss": "gaussian"}, "gaussian needs noise_sigma, for example 0.25"),
        ({"adversarial_loss": "gaussian", "noise_sigma": 0}, "noise_sigma"),
        ({"adversarial_loss": "gaussian", "noise_sigma": 127.5}, "noise_sigma"),
        ({"adversarial_loss": "gaussian", "noise_sigma": 0.5, "eps_l2": 1}, "eps_l2 is for"),
        ({"adversarial_loss": "smoothadv", "noise_sigma": 0.5}, "smoothadv needs eps_l2"),
        ({"adversarial_loss": "smoothadv", "noise_sigma": 0.5, "eps": 0.1}, "eps is for"),
        ({"adversarial_loss": "pgd", "eps": 0.1, "trades_beta": 2}, "trades_beta is for"),
        ({"adversarial_loss": "pgd", "eps": 1.5}, "eps"),
        ({"adversarial_loss": "pgd", "eps": 8}, r"did you mean 8/255 \(0.0314\)"),
        ({"adversarial_loss": "pgd", "eps": "24/3"}, r"did you mean 8/255 \(0.0314\)"),
        ({"adversarial_loss": "pgd", "eps": 0.1, "attack_step_size": 3}, "attack_step_size"),
        ({"generated_share": 0.5}, "generated and generated_share belong together"),
        ({"generated": Path("samples")}, "generated and generated_share belong together"),
        ({"generated": Path("samples"), "generated_share": 1.0}, "generated_share"),
    ],
)
def test_keys_that_do_not_fit_together_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config(**change)


def test_an_objective_that_heeds_eps_is_adversarial_and_no_other_is() -> None:
    assert not config().is_adversarial
    assert config(adversarial_loss="pgd", eps=0.1).is_adversarial
    assert not config(adversarial_loss="pgd", eps=0.1).heeds("trades_beta")
    assert config(adversarial_loss="trades", eps=0.1).heeds("trades_beta")


def test_a_radius_below_one_level_is_refused() -> None:
    with pytest.raises(UserError, match="less than one level"):
        config(adversarial_loss="pgd", eps=0.003).objective()


def test_what_counts_of_the_sets_is_their_content_and_not_their_place() -> None:
    here = config(generated=Path("a"), generated_share=0.5)
    there = config(generated=Path("b"), generated_share=0.5, num_workers=2)
    assert here.fingerprint() == there.fingerprint()
    assert here.fingerprint() != config(adversarial_loss="pgd", eps=0.1).fingerprint()
    assert {"adversarial_loss", "eps", "ema_halflife", "generated_share"} <= {*here.fingerprint()}
