"""Retrieval figures as people read them."""

from collections.abc import Mapping
from typing import Any


def in_words(figures: Mapping[str, Any]) -> str:
    """One line about the figures of `pipeline.evaluation.retrieval.Retrieval.to_json`."""
    shares = ", ".join(
        f"R@{k} {share['rate']:.1%} ({share['low95']:.1%} to {share['high95']:.1%})"
        for k, share in figures["recall"].items()
    )
    return (
        f"{shares} of {figures['num_pictures']:,} pictures among {figures['num_captions']:,} "
        f"captions, mean cosine with their own {figures['similarity']:.3f} "
        f"({figures['similarity_low95']:.3f} to {figures['similarity_high95']:.3f}); 95 % intervals"
    )
