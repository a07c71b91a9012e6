"""Judges a sample set: labels, captions, Fréchet distance, copies of training pictures, bound."""

from typing import Any

from jobs.evaluate.captions import check_judge, retrieval_figures, tell_retrieval
from jobs.evaluate.config import EvaluateConfig
from jobs.evaluate.figures import agreement, bound_of, copies, frechet
from noisestack.command import Command
from pipeline.classifier import Classifier
from pipeline.errors import UserError
from pipeline.evaluation.frechet import RATIO_BELOW_ONE
from pipeline.formats.claim import claim_output
from pipeline.formats.dataset import DatasetInfo, check_fits, load_dataset
from pipeline.formats.output import read_json, write_json
from pipeline.formats.sample_set import SampleSet, open_sample_set
from pipeline.formats.splits import TEST, judged_split, train_split
from pipeline.picture_encoder import PictureEncoder
from pipeline.stack import Stack
from pipeline.verification.evaluation_check import EVALUATION_FILE

_FIGURES = 2  # what the figures are; 1 had the bound of the test split's first rows


def main(config: EvaluateConfig) -> dict[str, Any]:
    """Computes the figures, prints them, writes and returns them."""
    samples = open_sample_set(config.samples)
    info = load_dataset(config.dataset)
    split = judged_split(info, config.split)
    train_split(info, "the evaluation")
    classifier = _classifier(config, info)
    check_fits(
        info,
        shape=samples.shape,
        classes=samples.classes or info.classes,
        what=f"the sample set {samples.path}",
    )
    stack = None if config.model is None else Stack.load(config.model)
    if stack is not None and samples.origin.get("model_sha256") != stack.sha256:
        raise UserError(f"{samples.path} was made by another model than {config.model}")
    judge = None if config.picture_encoder is None else PictureEncoder.load(config.picture_encoder)
    if judge is not None:
        check_judge(judge, samples, stack)
    parts = _made_from(config, samples, info, split, classifier, stack, judge)
    with claim_output(
        config.output, parts, overwrite=config.overwrite, marker=EVALUATION_FILE
    ) as output:
        if output.finished:
            result: dict[str, Any] = read_json(output.directory / EVALUATION_FILE)
        else:
            result = {
                "agreement": None if classifier is None else agreement(samples, classifier),
                "frechet": None
                if classifier is None
                else frechet(samples, info, split, classifier, config),
                **_retrieval(config, samples, info, split, judge),
                "copies": copies(samples, info, split, config),
                "bound": None if stack is None else bound_of(stack, info, split, config),
                "split": split,
                "made_from": parts,
            }
            write_json(output.directory / EVALUATION_FILE, result)
    _tell(result)
    print(f"the figures are in {output.path / EVALUATION_FILE}")
    return result


def _classifier(config: EvaluateConfig, info: DatasetInfo) -> Classifier | None:
    """The classifier that judges, which fits the dataset; None without one."""
    if config.classifier is None:
        return None
    classifier = Classifier.load(config.classifier)
    check_fits(
        info,
        shape=classifier.shape,
        classes=classifier.classes,
        what=f"the classifier {config.classifier}",
    )
    return classifier


def _retrieval(
    config: EvaluateConfig,
    samples: SampleSet,
    info: DatasetInfo,
    split: str,
    judge: PictureEncoder | None,
) -> dict[str, Any]:
    """What a picture encoder finds; without one there is no such entry."""
    if judge is None:
        return {}
    found = retrieval_figures(samples, info, split, judge, config.text_encoder, config.seed)
    return {"retrieval": found}


def _made_from(
    config: EvaluateConfig,
    samples: SampleSet,
    info: DatasetInfo,
    split: str,
    classifier: Classifier | None,
    stack: Stack | None,
    judge: PictureEncoder | None,
) -> dict[str, Any]:
    """All that decides the figures."""
    return {
        "job": "evaluate",
        "figures": _FIGURES,
        "samples": samples.sha256,
        "dataset": info.sha256,
        **({} if split == TEST else {"split": split}),
        "classifier": classifier.sha256 if classifier else None,
        "model": stack.sha256 if stack else None,
        **({} if judge is None else {"picture_encoder": judge.sha256}),
        **config.model_dump(
            mode="json",
            include={
                "count",
                "neighbours",
                "bound_layers",
                "bound_rows",
                "bound_rows_per_layer",
                "seed",
            },
        ),
    }


def _tell(result: dict[str, Any]) -> None:
    agreement, frechet, copies = result["agreement"], result["frechet"], result["copies"]
    split = result.get("split", TEST)
    if agreement:
        print(
            f"labels: the classifier gives {agreement['rate']:.1%} of {agreement['asked']:,} "
            f"samples their label (95 % interval {agreement['low95']:.1%} to "
            f"{agreement['high95']:.1%})"
        )
    if retrieval := result.get("retrieval"):
        tell_retrieval(retrieval, split)
    if frechet:
        _tell_frechet(frechet, split)
    _tell_copies(copies, split)
    if result["bound"]:
        bound = result["bound"]
        print(
            f"bound: {bound['bits_per_dim']:.3f} ± {bound['standard_error']:.3f} bits/dim "
            f"with {bound['num_layers']} layers, mean of {bound['num_pictures']:,} random "
            f"{split} pictures ± its standard error"
        )
        if bound["variances_from"] == split:
            print(
                f"warning: this model's variances were tuned on {split} pictures, so the bound "
                "may be too low; a model trained by this version has them from the train split"
            )


def _tell_frechet(frechet: dict[str, Any], split: str) -> None:
    ratio = frechet["ratio_to_floor"]
    print(
        f"Fréchet distance, {frechet['count']:,} pictures a side: samples to {split} "
        f"{frechet['samples_to_test']:.3f}, floor (train to {split}) "
        f"{frechet['train_to_test']:.3f}, "
        + (
            "no ratio: the floor is 0, the two sides' pictures are the same"
            if ratio is None
            else f"ratio {ratio:.2f}"
        )
    )
    if ratio is not None and ratio < 1:
        print(RATIO_BELOW_ONE)


def _tell_copies(copies: dict[str, Any], split: str) -> None:
    share = copies["num_training"] / copies["num_train_split"]
    print(
        f"copies: {copies['num_exact']:,} of {copies['num_samples']:,} samples are equal to a "
        f"training picture; all {copies['num_train_split']:,} were compared"
    )
    if copies["threshold"] is not None:
        print(
            f"near copies: {copies['num_near']:,} of them are equal to a training picture or "
            f"within {copies['threshold']:.3g} of one; {copies['num_training']:,} were searched, "
            f"{share:.1%} of the train split"
        )
        print(
            "near: a Euclidean distance, pixels from 0 to 1; 1 % of the searched pictures are as "
            "near to another of them"
        )
    print(
        f"for comparison: of {copies['num_held_out']:,} {split} pictures, which were not trained "
        f"on, {copies['num_held_out_exact']:,} are equal to a training picture and "
        f"{copies['num_held_out_near']:,} are equal or near"
    )


COMMAND = Command(
    EvaluateConfig, main, summary="judge samples: labels, captions, Fréchet, bits/dim"
)
