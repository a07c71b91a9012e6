"""The kinds of attacks that a perturbation set is made with, and which of them a name means."""

from pipeline.perturbation.attack import SetAttack
from pipeline.perturbation.built_in import BuiltIn
from pipeline.perturbation.options import AttackOptions
from pipeline.perturbation.own import Own
from pipeline.perturbation.transfer import Transfer
from pipeline.perturbation.universal import Universal

# The last one says what there is to choose from, where a name means none.
KINDS: tuple[type[SetAttack], ...] = (Transfer, Universal, Own, BuiltIn)


def attack_of(options: AttackOptions) -> SetAttack:
    """The attack that the options spell; UserError where they contradict each other."""
    options.check_sizes()
    kind = next((k for k in KINDS if k.is_called(options.attack)), KINDS[-1])
    options.refuse_all_but(kind.heeds)
    return kind.of(options)
