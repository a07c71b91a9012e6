"""Checks a perturbation set with none of the code that made it; exits with 1 if there is a fault.

python check_perturbations.py SET DATASET [CLASSIFIER.onnx, else SET/classifier.onnx]
"""

import json
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow.parquet

FAULTS = []


def check(good, what, rows=None):  # one truth, or one a row
    if len(bad := np.flatnonzero(~np.atleast_1d(good))):
        FAULTS.append(what)
        print(f"FAULT {what}" + ("" if rows is None else f": {len(bad)}, first row {rows[bad[0]]}"))


def read(folder, file):
    content = (folder / file["file"]).read_bytes()
    check(sha256(content).hexdigest() == file["sha256"], f"{folder / file['file']}: SHA-256")
    table = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(content)).read(use_threads=False)
    columns, decode = {k: table[k] for k in table.column_names}, "to_numpy_ndarray"  # of pictures
    return {k: getattr(c.combine_chunks(), decode, c.to_numpy)() for k, c in columns.items()}


folder, data, *other = map(Path, sys.argv[1:])
meta = json.loads((folder / "manifest.json").read_bytes())
info = json.loads((data / "dataset.json").read_bytes())
onnx = (other[0] if other else folder / "classifier.onnx").read_bytes()
claim, classes = meta["dataset"], np.arange(len(info["classes"]))
norm, eps, goal = map(meta["attack"].get, ("norm", "eps", "target"))  # eps in 1/255; 0: no ball
check(meta["model"].get("onnx_sha256") in (None, sha256(onnx).hexdigest()), "another ONNX file")
check(claim["sha256"] == info["content_sha256"], "another dataset")
# Logits: a picture is broken where a wrong class leads by more than this; and so far may other
# arithmetic lie from what is recorded, since a nearer tie is no fault.
lead = meta["attack"].get("threshold", 1e-3)
session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
parts = [read(data, file) for file in info["splits"][claim["split"]]]
images, labels, ids = (np.concatenate([p[k] for p in parts]) for k in ("image", "label", "id"))
if "threshold" in meta["attack"]:
    z = session.run(None, {"image": images[: meta["attack"].get("threshold_rows") or 1]})[0]
    due = 5e-5 * np.median(z.max(1) - np.median(z, 1)), 1e-6 * np.median(abs(z.max(1)))
    check(abs(lead - max(due)) < 0.01 * lead, f"the threshold: {lead:.6g} is {max(due):.6g}")
times, right, won = np.zeros(max(len(labels), claim["stop"]), int), 0, 0
for file, c in ((file, read(folder, file)) for file in meta["shards"]):
    clean, moved, row, label = c["image"], c["adversarial"], c["row"], labels[c["row"]]
    np.add.at(times, row, 1)
    both, aim, free = np.concatenate([clean, moved]), c["target"], goal in (None, "none")
    d = np.abs(moved.astype(int) - clean).reshape(len(row), -1)  # in levels of 1/255
    size = {"linf": d.max(1), "l2": np.sqrt((d**2).sum(1)), "l1": d.sum(1), "l0": (d > 0).sum(1)}
    good = {k: abs(c[k] * (255 if k in ("l2", "l1") else 1) - size[k]) < 1e-6 for k in size}
    good["box and ball"] = (size[norm] <= (eps or np.inf)) & (moved.dtype == np.uint8)  # exact
    good |= {"row": row >= 0, "id": c["id"] == ids[row], "label": c["label"] == label}
    good |= {"target": (aim < 0) == free, "clean picture": (clean == images[row]).all((1, 2, 3))}
    good["clean_sha256"] = c["clean_sha256"] == [sha256(x.tobytes()).hexdigest() for x in clean]
    own = np.where(aim < 0, label, aim)[:, None] == classes  # aim -1: any class but the label
    pred = np.stack([c["clean_prediction"], c["adversarial_prediction"]])
    good["success"] = c["success"] == ((pred[0] == label) & (aim != label) & (c["margin"] > lead))
    for n in (7, 64):  # pictures a call
        calls = [session.run(None, {"image": both[i : i + n]})[0] for i in range(0, len(both), n)]
        z = np.concatenate(calls).astype(float).reshape(2, len(row), -1)
        held = np.where(pred[..., None] == classes, z, -np.inf).max(2) >= z.max(2) - lead
        margin = (np.where(own, -np.inf, z[1]).max(1) - (z[1] * own).sum(1)) * np.sign(-aim - 0.5)
        good[f"clean_prediction, {n} a call"], good[f"adversarial_prediction, {n} a call"] = held
        good[f"margin, {n} a call"] = abs(c["margin"] - margin) <= lead
    for what, holds in good.items():
        check(holds, f"{file['file']}: {what}", row)
    right, won = right + (pred[0] == label).sum(), won + c["success"].sum()
stats = {"rows": times.sum(), "clean_right": right, "successes": won}
stats |= {"clean_accuracy": right / times.sum(), "robust_accuracy": (right - won) / times.sum()}
for key, value in stats.items():
    check(abs((meta["counts"] | meta)[key] - value) < 1e-9, f"manifest: {key} is {value:.6g}")
for row in [read(folder, file)["row"] for file in meta["quarantine"]]:
    check(~np.isin(labels[row], classes), "quarantine: a row that has a label", row)
    np.add.at(times, row, 1)
due = np.isin(np.arange(len(times)), np.arange(claim["start"], claim["stop"]))
check(times == due, "rows: not exactly once", np.arange(len(times)))
print(f"{len(FAULTS)} faults; {norm} {eps}/255;", *(f"{k} {v:.6g}" for k, v in stats.items()))
sys.exit(bool(FAULTS))
