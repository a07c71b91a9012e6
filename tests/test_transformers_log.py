"""The library transformers leaves torch as it was."""

import subprocess
import sys
from pathlib import Path

from tiny_encoders import tiny_bert

LOOK = """
import sys, torch
from pathlib import Path
from pipeline.text.encoder import TextEncoder

TextEncoder.load(Path(sys.argv[1]), max_length=4)
with torch.device("meta"):
    print(torch.linspace(0, 1, 3).device)
"""


def test_tensors_are_made_where_torch_is_told_after_a_process_has_loaded_an_encoder(
    tmp_path: Path,
) -> None:
    path = tiny_bert(tmp_path / "encoder")
    arguments = [sys.executable, "-c", LOOK, str(path)]
    found = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["meta"]
