"""The picture that samples are drawn around, as the config of `generate` names it."""

from jobs.generate.config import GenerateConfig
from pipeline.sampling.inpainting import RESAMPLE, check_inpainting, options_around
from pipeline.sampling.known_picture import InpaintingPlan, read_known_picture
from pipeline.sampling.options import SamplingOptions
from pipeline.stack_spec import StackSpec


def resolved_options(config: GenerateConfig, spec: StackSpec) -> SamplingOptions:
    """The options with the model's defaults filled in, which differ around a picture.

    Raises:
        UserError: an option that this model cannot follow.
    """
    options = config.options()
    return options.resolve(spec) if config.inpaint is None else options_around(spec, options)


def inpainting_plan(
    config: GenerateConfig, spec: StackSpec, options: SamplingOptions
) -> InpaintingPlan | None:
    """The picture and how often layers are drawn around it; None where whole samples are drawn.

    Raises:
        UserError: a picture or a mask that the model cannot be asked to draw around, or a sampler
            that cannot.
    """
    if config.inpaint is None:
        return None
    resample = RESAMPLE if config.resample is None else config.resample
    steps = config.moment_steps or 0
    check_inpainting(spec, options, resample, steps)
    picture = read_known_picture(config.inpaint, config.mask, spec.shape)
    return InpaintingPlan(picture, resample, steps)
