"""The columns of a perturbation set's rows, as the set's judge answers them."""

from collections.abc import Sequence

import numpy as np

from pipeline.formats.perturbation.check import Judge
from pipeline.formats.perturbation.set import PerturbationColumns
from pipeline.formats.perturbation.verdict import margins_of
from pipeline.perturbation.attack import CleanRows, PerturbedRows


def judged_columns(
    judge: Judge,
    clean: CleanRows,
    perturbed: PerturbedRows,
    *,
    ids: Sequence[str],
    split: str,
    draws: int,
) -> PerturbationColumns:
    """Asks the judge about perturbed rows.

    Args:
        judge: who says whether rows are broken; also whose `clean.logits` are.
        ids, split: of the rows in their dataset.
        draws: that the attack averaged over, each of which is a pass.
    """
    logits = judge.logits_of(perturbed.images)
    return PerturbationColumns(
        ids=ids,
        split=split,
        rows=clean.rows,
        labels=clean.labels,
        images=clean.images,
        adversarial=perturbed.images,
        clean_predictions=np.asarray(clean.logits.argmax(axis=1)),
        adversarial_predictions=np.asarray(logits.argmax(axis=1)),
        margins=margins_of(logits, clean.labels, clean.targets),
        found_attacks=list(perturbed.found_by),
        found_restarts=perturbed.restarts,
        found_steps=perturbed.steps,
        forwards=perturbed.forwards * draws,
        backwards=perturbed.backwards * draws,
        targets=clean.targets,
    )
