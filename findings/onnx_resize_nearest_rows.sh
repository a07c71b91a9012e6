#!/usr/bin/env bash
# onnxruntime 1.32.0: Resize, nearest, from 28 to 32 rows takes other rows than the arithmetic says.
#
# torch writes interpolate(mode="nearest") as a Resize with coordinate_transformation_mode "asymmetric"
# and nearest_mode "floor": row i of 32 is row floor(i * 28 / 32) of 28, which is what torch itself
# computes. onnxruntime divides i by the scale in float32: 8 / 1.142857 is a little below 7, and row 8
# becomes row 6 where 7 is due; so at every whole multiple that rounds down. So do 14 -> 16, 28 -> 64 and
# 224 -> 256, whose scale is the same or its double, while 28 -> 56 and 32 -> 40 agree. A classifier that enlarges its
# pictures so is another function as an ONNX file. interpolate(mode="nearest-exact") is not concerned.
#
# Ends with 0 while that is so, with 1 once rows are as they should be.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper


def rows_taken(before, after):
    """Which row of the picture each row of the larger one is, by onnxruntime."""
    node = helper.make_node(
        "Resize", ["x", "", "", "sizes"], ["y"], mode="nearest", nearest_mode="floor",
        coordinate_transformation_mode="asymmetric",
    )
    sizes = helper.make_tensor("sizes", TensorProto.INT64, [4], [1, 1, after, 1])
    graph = helper.make_graph(
        [node], "resize",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, before, 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, after, 1])],
        [sizes],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    picture = np.arange(before, dtype=np.float32).reshape(1, 1, before, 1)
    return session.run(None, {"x": picture})[0].ravel().astype(int)


print("onnxruntime", onnxruntime.__version__, "onnx", onnx.__version__)
differ = {}
for before, after in [(28, 32), (14, 16), (28, 64), (224, 256), (28, 56), (32, 40)]:
    due = np.arange(after) * before // after
    taken = rows_taken(before, after)
    wrong = np.flatnonzero(taken != due)
    differ[before, after] = len(wrong)
    shown = ", ".join(f"row {i}: {taken[i]} for {due[i]}" for i in wrong[:3])
    print(f"{before} -> {after}: {len(wrong)} rows differ{': ' + shown if len(wrong) else ''}")
expected = {(28, 32), (14, 16), (28, 64), (224, 256)}
raise SystemExit({sizes for sizes, count in differ.items() if count} != expected)
PYTHON
