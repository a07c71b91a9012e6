"""What a plot says of the attack that made a perturbation set."""

from collections.abc import Mapping
from typing import Any

from pipeline.formats.perturbation.target import target_words
from pipeline.formats.perturbation.through import is_through
from pipeline.perturbation_terms import NO_TARGET


def attack_title(manifest: Mapping[str, Any]) -> str:
    """The attack, its norm, its radius if it has a ball, and its target if it has one.

    Args:
        manifest: of a perturbation set.

    Returns:
        Such as ``pgd, linf, eps 8/255, towards the least likely class``.
    """
    attack = manifest["attack"]
    parts = [str(attack["attack"]), str(attack["norm"])]
    if attack["eps"]:
        parts.append(f"eps {attack['eps']}/255")
    through = f"through a {manifest['model']['through']}" if is_through(manifest) else ""
    return ", ".join(filter(None, [*parts, through, target_title(manifest)]))


def target_title(manifest: Mapping[str, Any]) -> str:
    """What the attack of a set aims at; empty where any wrong class counts."""
    target = str(manifest["attack"].get("target", NO_TARGET))
    return "" if target == NO_TARGET else target_words(target, manifest["model"]["classes"])
