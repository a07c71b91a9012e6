#!/usr/bin/env bash
# Expected: a Parquet file whose column is Arrow's canonical extension type `fixed_shape_tensor`
# (here 2 x 3 of uint8) is read by any reader of Parquet, with the shape or at least as lists.
# Found: `datasets` refuses the whole file ("does not have a datasets dtype equivalent"), whichever
# columns are asked for; DuckDB reads flat lists, and what it writes from them has neither shape nor
# type. Polars keeps both through reading and writing.
# Exits with 0 while the three behave so, with 1 once one does not.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q pyarrow==26.0.1 datasets==5.2.0 duckdb==2.0.1 polars==2.1.0
cd "$work"
HF_HUB_OFFLINE=1 HF_HOME="$work/cache" "$work/venv/bin/python" - <<'PYTHON'
import sys

import datasets
import duckdb
import numpy as np
import polars
import pyarrow as pa
import pyarrow.parquet as pq

datasets.disable_progress_bars()
pictures = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)
column = pa.FixedShapeTensorArray.from_numpy_ndarray(pictures)
pq.write_table(pa.table({"image": column, "label": [0, 1, 0, 1]}), "ours.parquet")
assert pq.read_schema("ours.parquet").field("image").type == column.type
as_found = []

print("datasets", datasets.__version__)
refused = []
for columns in (None, ["label"]):
    try:
        datasets.load_dataset(
            "parquet", data_files="ours.parquet", columns=columns, split="train"
        )
        refused.append("read")
    except Exception as error:
        refused.append(f"{type(error).__name__}: {error}")
    print(f"  columns {columns}: {refused[-1]}")
as_found.append(all("datasets dtype equivalent" in told for told in refused))

print("duckdb", duckdb.__version__)
duckdb.sql("copy (select * from 'ours.parquet') to 'duckdb.parquet'")
((first,),) = duckdb.sql("select image from 'ours.parquet' limit 1").fetchall()
kind = pq.read_schema("duckdb.parquet").field("image").type
print(f"  the first picture: {first}; written again: {kind}")
as_found.append(list(first) == [0, 1, 2, 3, 4, 5] and pa.types.is_list(kind))

print("polars", polars.__version__)
polars.read_parquet("ours.parquet").write_parquet("polars.parquet")
kind = pq.read_schema("polars.parquet").field("image").type
print(f"  written again: {kind}")
as_found.append(kind == column.type)
sys.exit(int(not all(as_found)))
PYTHON
