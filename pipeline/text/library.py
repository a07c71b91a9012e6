"""Opens a text encoder of the library transformers: its network and its tokenizer."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pipeline.errors import UserError
from pipeline.importable import error_line
from pipeline.transformers_log import quiet_transformers

# Code in the directory is not run.
_LOCAL = {"local_files_only": True, "trust_remote_code": False}
# On top of the token states, and not used here: many a checkpoint leaves it out.
_UNUSED = "pooler."


def need_transformers(what: str) -> None:
    """UserError unless transformers is installed; it is not imported, which takes seconds."""
    # Its tokenizers would start a thread a core in each of a node's actors.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if find_spec("transformers") is None:
        raise UserError(
            f"{what} takes the library transformers, which is not installed; "
            "pip install 'noisestack[text]'"
        )


def open_network(path: Path) -> nn.Module:
    """The network that gives token states, float32, frozen and in eval mode.

    That is an encoder-only model, or the encoder of one with a decoder.

    Raises:
        UserError: the directory holds another kind of model, or not all weights.
    """
    import transformers as library

    try:
        config = library.AutoConfig.from_pretrained(path, **_LOCAL)
        kind = type(config)
        if kind in library.MODEL_FOR_TEXT_ENCODING_MAPPING:
            opens: Any = library.AutoModelForTextEncoding
        elif config.is_encoder_decoder or kind in library.MODEL_FOR_MASKED_LM_MAPPING:
            opens = library.AutoModel
        else:
            raise UserError(
                f"{path} holds a {config.model_type}, which is no encoder of texts; give one like "
                "BERT or like T5"
            )
        with quiet_transformers():
            model, loaded = opens.from_pretrained(
                path,
                config=config,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
                **_LOCAL,
            )
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path} is not a text encoder ({error_line(error)})") from None
    missing = sorted(key for key in map(str, loaded["missing_keys"]) if _UNUSED not in key)
    if missing:
        raise UserError(
            f"{path} lacks {len(missing)} of the weights of {type(model).__name__} ({missing[0]} "
            "and the like), which would be drawn at random; save the whole model there"
        )
    if config.is_encoder_decoder and opens is library.AutoModel:
        model = model.get_encoder()
    network: nn.Module = model.eval().requires_grad_(False)
    return network


def open_tokenizer(path: Path) -> Any:
    """The tokenizer, which pads and cuts at the end.

    Raises:
        UserError: there is none, or none that can pad.
    """
    import transformers as library

    try:
        with quiet_transformers():
            tokenizer = library.AutoTokenizer.from_pretrained(path, **_LOCAL)
    except Exception as error:
        raise UserError(
            f"the tokenizer of {path} cannot be loaded ({error_line(error)}); save it there with "
            "save_pretrained"
        ) from None
    if tokenizer.pad_token is None:
        raise UserError(f"the tokenizer of {path} has no token to pad with; give it a pad_token")
    tokenizer.padding_side = tokenizer.truncation_side = "right"
    return tokenizer
