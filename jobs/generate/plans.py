"""What `generate` draws on: the plan that its config spells, for a model of any condition."""

import sys

import numpy as np

from jobs.generate.config import GenerateConfig
from jobs.generate.vectors import vector_plan
from noisestack.flags import flag_of
from pipeline.class_names import NO_CONDITION
from pipeline.errors import UserError
from pipeline.sampling.label_column import Column, open_column
from pipeline.sampling.labels import (
    all_in_turn,
    captions_in_turn,
    labels_in_turn,
    per_class,
    refuse_untrained,
)
from pipeline.sampling.plan import ConditionPlan
from pipeline.sampling.prompt_reader import PromptReader
from pipeline.sampling.prompts import PromptPlan, open_prompts, prompts_in_turn
from pipeline.stack_spec import StackSpec

_CAPTION = "caption"  # the column of prompts, where none is named


def condition_plan(config: GenerateConfig, spec: StackSpec) -> ConditionPlan:
    """What the samples of a model are drawn on, by its condition.

    Raises:
        UserError: as `vector_plan` where pictures are named; as `prompt_plan` for a model that is
            drawn on embeddings, else as `label_plan`.
    """
    if config.variation_of is not None or config.interpolate is not None:
        return vector_plan(config, spec)
    if spec.condition.rule.embedded:
        return prompt_plan(config)
    return label_plan(config, spec.classes, spec.untrained)


def prompt_plan(config: GenerateConfig) -> PromptPlan:
    """The prompts of a model that takes sentences.

    Raises:
        UserError: labels instead of prompts, or neither; or as `prompts_in_turn`, `open_prompts`.
    """
    for key in ("labels", "per_class", "captions", "labels_from"):
        if getattr(config, key) is not None:
            raise UserError(
                f"{flag_of(key)}: the model takes sentences and has no classes; give --prompts"
            )
    if config.prompts is not None:
        return prompts_in_turn(config.prompts, "--prompts")
    if config.prompts_from is not None:
        column = config.prompts_column or _CAPTION
        return open_prompts(config.prompts_from, column, split=config.prompts_split)
    raise UserError(
        f"the model takes sentences: give --prompts or --prompts-from ({NO_CONDITION} for no "
        "condition)"
    )


def check_prompts(plan: PromptPlan, count: int, reader: PromptReader) -> None:
    """Looks at every prompt that is drawn on, and says on stderr if some are too long.

    Raises:
        UserError: a prompt is empty, or has nothing that the encoder's tokenizer knows.
    """
    num_cut, first = 0, None
    for prompts in plan.distinct_parts(count):
        cut = reader.cut(prompts)
        num_cut += len(cut)
        first = first or next(iter(cut), None)
    if first is not None:
        print(f"generate: {reader.notice(num_cut, first)}", file=sys.stderr, flush=True)


def label_plan(
    config: GenerateConfig, classes: tuple[str, ...], untrained: tuple[int, ...] = ()
) -> ConditionPlan:
    """What the samples are drawn on; every label that is named is one of the model's.

    Raises:
        UserError: a name, a caption, a prompt or a row that is no class or an untrained one, or a
            column that cannot be read.
    """
    if config.labels is not None:
        in_turn = labels_in_turn(config.labels, classes, "--labels")
        refuse_untrained(np.array(in_turn.labels), classes, untrained, "--labels")
        return in_turn
    if config.captions is not None:
        in_turn = captions_in_turn(config.captions, classes, "--captions")
        refuse_untrained(np.array(in_turn.labels), classes, untrained, "--captions")
        return in_turn
    if config.per_class is not None:
        counted = per_class(config.per_class, classes, "--per-class", untrained)
        refuse_untrained(np.array(list(counted.counts)), classes, untrained, "--per-class")
        return counted
    if config.prompts is not None:  # the prompts of such a model are names of classes
        prompts = prompts_in_turn(config.prompts, "--prompts").prompts
        in_turn = captions_in_turn(prompts, classes, "--prompts")
        refuse_untrained(np.array(in_turn.labels), classes, untrained, "--prompts")
        return in_turn
    if config.labels_from is not None or config.prompts_from is not None:
        plan = _column_plan(config, classes)
        plan.check(untrained)
        return plan
    return all_in_turn(classes, untrained)


def _column_plan(config: GenerateConfig, classes: tuple[str, ...]) -> Column:
    if config.prompts_from is not None:
        column = config.prompts_column or _CAPTION
        path, split = config.prompts_from, config.prompts_split
        return open_column(
            path, column, classes, split=split, split_flag="--prompts-split", captions=True
        )
    assert config.labels_from is not None
    return open_column(
        config.labels_from,
        config.captions_column or config.labels_column or "label",
        classes,
        split=config.labels_split,
        captions=config.captions_column is not None,
    )
