"""The keys of `train-classifier` that belong together, and what they spell."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from jobs.train_classifier.config import TrainClassifierConfig
from pipeline.errors import UserError
from pipeline.training.averaging import Averaging
from pipeline.training.objectives.inner import InnerAttack
from pipeline.training.objectives.natural import CrossEntropy
from pipeline.training.objectives.pgd import PgdTraining
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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"adversarial_loss": "pgd"}, "adversarial_loss pgd needs eps"),
        ({"adversarial_loss": "cw", "eps": 0.1}, "adversarial_loss"),
        ({"eps": 0.1}, "eps is for adversarial_loss pgd or trades"),
        ({"attack_steps": 2}, "attack_steps is for adversarial_loss pgd or trades"),
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
