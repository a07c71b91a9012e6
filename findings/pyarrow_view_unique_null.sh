#!/usr/bin/env bash
# Expected: `unique` and `value_counts` of a column with a null list the null, as they do for
# `string` and `binary`: ["a", null].
# Found: for `string_view` and `binary_view` (what Polars hands over at its newest compatibility
# level) the null comes back as an empty text that is not in the data: ["a", ""], null_count 0.
# A set of class names made so gets a class "". Casting to `string` first avoids it.
# Exits with 0 while pyarrow behaves so, with 1 once it does not.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q pyarrow==26.0.1
"$work/venv/bin/python" - <<'PYTHON'
import sys

import pyarrow as pa

print("pyarrow", pa.__version__)
changed = False
for plain, view, value in (
    (pa.string(), pa.string_view(), "a"),
    (pa.binary(), pa.binary_view(), b"a"),
):
    right = pa.array([value, None], plain)
    found = pa.array([value, None], view)
    found.validate(full=True)
    print(f"{plain}: unique {right.unique().to_pylist()}")
    print(f"{view}: unique {found.unique().to_pylist()}, {found.value_counts().to_pylist()}")
    assert right.unique().to_pylist() == [value, None]
    changed |= found.unique().to_pylist() != [value, value[:0]]
    changed |= [row["values"] for row in found.value_counts().to_pylist()] != [value, value[:0]]
sys.exit(int(changed))
PYTHON
