"""Drawn scenes whose captions say exactly what is there: an oracle for pictures from text.

No part of the product: benchmarks and tests draw here, and read back what a model made.
"""

from benchmarks.scenes.drawing import (
    COMBINATIONS as COMBINATIONS,
    Combination as Combination,
    Object as Object,
    Scene as Scene,
    distinct as distinct,
    draw as draw,
    scene_at as scene_at,
)
from benchmarks.scenes.reading import (
    Found as Found,
    Scores as Scores,
    read as read,
    score as score,
)
