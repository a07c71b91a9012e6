"""The picture that samples are drawn around, as the config of `generate` names it."""

from jobs.generate.config import GenerateConfig
from pipeline.sampling.inpainting import RESAMPLE, check_inpainting
from pipeline.sampling.known_picture import InpaintingPlan, read_known_picture
from pipeline.sampling.options import SamplingOptions
from pipeline.stack_spec import StackSpec


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
    check_inpainting(spec, options, resample)
    return InpaintingPlan(read_known_picture(config.inpaint, config.mask, spec.shape), resample)
