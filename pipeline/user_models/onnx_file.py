"""A classifier as the ONNX file that `onnx_export` writes.

It can judge pictures but not be attacked, since onnxruntime gives no gradients.
"""

from pathlib import Path

import numpy as np

from pipeline.errors import UserError
from pipeline.importable import error_line

_ROWS_PER_CALL = 64


class OnnxJudge:
    """Stored pictures to logits, by onnxruntime.

    Attributes:
        sha256: of the classifier that the file's own metadata names.

    Raises:
        UserError: onnxruntime is not installed, or the file is not an exported classifier's.
    """

    def __init__(self, path: Path) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise UserError(
                f"{path} is asked by way of onnxruntime, which is not installed; "
                "pip install 'noisestack[onnx]'"
            ) from None
        if not path.is_file():
            raise UserError(f"there is no file {path}; check the path")
        try:
            self._session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise UserError(f"{path} is not an ONNX file ({error_line(error)})") from None
        notes = self._session.get_modelmeta().custom_metadata_map
        if "classifier_sha256" not in notes:
            raise UserError(
                f"{path} does not name its classifier; give one that perturb --export-onnx wrote"
            )
        self.sha256 = str(notes["classifier_sha256"])

    def logits_of(self, images: np.ndarray) -> np.ndarray:
        """uint8 ``[N, H, W, C]`` to float32 logits ``[N, K]``."""
        parts = range(0, len(images), _ROWS_PER_CALL)
        return np.concatenate(
            [
                self._session.run(["logits"], {"image": images[start : start + _ROWS_PER_CALL]})[0]
                for start in parts
            ]
        )
