"""Checks a certificate set with none of the code that made it; exits with 1 if there is a fault.

python check_certificates.py SET DATASET [MODULE:FUNCTION]

FUNCTION() gives the base: float32 [N, C, H, W], noisy and not clipped, to scores [N, K]. It votes
on noise of this script's own: are so many votes as are claimed likely at all?
"""

import json
import sys
from hashlib import sha256
from importlib import import_module
from pathlib import Path

import numpy as np
import pyarrow.parquet
from scipy.special import betainc, betaincinv, betaln, ndtri, xlog1py, xlogy

FAULTS = []
ROWS, VOTES = 16, 1000  # that the base is asked about, and on each


def check(good, what, rows=None):  # one truth, or one a row
    if len(bad := np.flatnonzero(~np.atleast_1d(good))):
        FAULTS.append(what)
        print(f"FAULT {what}" + ("" if rows is None else f": {len(bad)}, first row {rows[bad[0]]}"))


def near(value, due, by=1e-9):
    return abs(np.asarray(value, float) - due) <= by  # false of NaN


def read(folder, file):
    content = (folder / file["file"]).read_bytes()
    check(sha256(content).hexdigest() == file["sha256"], f"{folder / file['file']}: SHA-256")
    table = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(content)).read(use_threads=False)
    columns = {name: table[name].combine_chunks() for name in table.column_names}
    if "n0_counts" in columns:
        columns["n0_counts"] = columns["n0_counts"].flatten()
    return {
        k: getattr(c, "to_numpy_ndarray", lambda c=c: c.to_numpy(False))()
        for k, c in columns.items()
    }


def p_lower(n, s):
    """Below the true share with probability 1 - alpha, after s of n votes for the class."""
    low = betaincinv(np.maximum(s, 1), n - s + 1, share)  # n fixed beforehand: Clopper and Pearson
    if c["rule"] != "fixed":  # n chosen while looking: {p: M(p) < 1/share}, where M, a mixture of
        a, b = c["prior"]  # likelihood ratios over a Beta distribution, is a martingale (Ville)
        level = betaln(s + a, n - s + b) - betaln(a, b) + np.log(share)
        under, over = 0.0 * n, s / n
        for _ in range(80):
            middle = (under + over) / 2
            outside = xlogy(s, middle) + xlog1py(n - s, -middle) <= level
            under, over = np.where(outside, middle, under), np.where(outside, over, middle)
        low = np.where(n == most, np.maximum(low, under), under)  # the last n was fixed beforehand
    return np.maximum(0, np.where(s > 0, low, 0) - c["shortfall"])


folder, data = map(Path, sys.argv[1:3]) if len(sys.argv) in (3, 4) else sys.exit(__doc__)
meta = json.loads((folder / "manifest.json").read_bytes())
info = json.loads((data / "dataset.json").read_bytes())
claim, c, classes = meta["dataset"], meta["certificate"], np.arange(len(meta["base"]["classes"]))
sigma, alpha, n0, most = (c[name] for name in ("sigma", "alpha", "n0", "n"))
check(claim["sha256"] == info["content_sha256"], "another dataset")
share = alpha if c["rule"] == "fixed" else alpha / 2  # half for all n at once, half for the last
check(
    sigma > 0 and 0 < alpha < 0.5 and n0 >= 1 and min(c.get("prior", [1])) > 0,
    "manifest: certificate",
)
table = (c["noise"], c["shortfall"] > 0)  # of the lattice's noise: what it is off by, at most
check(table in (("gaussian", False), ("lattice", True)), "manifest: noise and its shortfall")
check(len(meta["curve"]) > 0, "manifest: no curve")
parts = [read(data, file) for file in info["splits"][claim["split"]]]
images, labels, ids = (np.concatenate([p[k] for p in parts]) for k in ("image", "label", "id"))
times, kept = np.zeros(max(len(labels), claim["stop"]), int), []
for file, t in ((file, read(folder, file)) for file in meta["shards"]):
    row, n, s = t["row"], t["n"], t["n_a"]
    np.add.at(times, row, 1)
    votes = t["n0_counts"].reshape(len(row), -1)
    good = {"split": t["split"] == claim["split"], "row": row >= 0, "id": t["id"] == ids[row]}
    hashes = [sha256(x.tobytes()).hexdigest() for x in images[row]]
    good |= {"label": t["label"] == labels[row], "clean_sha256": t["clean_sha256"] == hashes}
    good |= {
        "sigma": t["sigma"] == sigma,
        "seed": t["seed"] == c["seed"],
        "draws": t["draws"] == n0 + n,
    }
    good["n0_counts"] = (
        (votes.sum(1) == n0) & (votes >= 0).all(1) & (votes.shape[1] == len(classes))
    )
    good["predicted"] = t["predicted"] == votes.argmax(1)
    good["n"] = (n == most) if c["rule"] == "fixed" else (n > 0) & (n <= most)
    good["n_a"] = sane = (s >= 0) & (s <= n) & (n > 0)
    p = p_lower(np.where(sane, n, 1), np.where(sane, s, 0))
    held = np.where(p > 0.5, sigma * ndtri(np.maximum(p, 0.5)), 0)  # Cohen and others, 2019
    good["p_lower"] = near(t["p_lower"], p)
    good["abstained"] = t["abstained"] == (t["p_lower"] <= 0.5)
    # Rounded down to millionths; where last bits differ it may be one further down.
    good["radius"] = (t["radius"] <= held + 1e-8) & (t["radius"] >= held - 2.1e-6)
    for what, holds in good.items():
        check(holds, f"{file['file']}: {what}", row)
    names = ("row", "label", "predicted", "radius", "abstained", "p_lower", "draws")
    kept.append({name: t[name] for name in names})
t = {name: np.concatenate([one[name] for one in kept]) for name in kept[0]}
right, rows = (t["predicted"] == t["label"]) & ~t["abstained"], len(t["row"])
stats = {"rows": rows, "right": right.sum(), "abstained": t["abstained"].sum()}
for key, value in (stats | {"draws": t["draws"].sum()}).items():
    check(meta["counts"][key] == value, f"manifest: counts {key} is {value}")
average = np.where(right, t["radius"], 0).mean()
check(near(meta["average_certified_radius"], average), f"manifest: average radius {average:.6g}")
for point in meta["curve"]:
    k = (right & (t["radius"] >= point["radius"] - 1e-9)).sum()
    low, high = point["interval_95"]  # of k of all rows, Clopper and Pearson, two-sided
    good = k == point["right"] and near(point["accuracy"], k / rows)
    good &= near(betainc(k, rows - k + 1, low), 0.025) if k else low == 0
    good &= near(betainc(k + 1, rows - k, high), 0.975) if k < rows else high == 1
    check(good, f"manifest: the curve at radius {point['radius']:g}, where {k} rows are right")
for row in [read(folder, file)["row"] for file in meta["quarantine"]]:
    check(~np.isin(labels[row], classes), "quarantine: a row that has a label", row)
    np.add.at(times, row, 1)
due = np.isin(np.arange(len(times)), np.arange(claim["start"], claim["stop"]))
check(times == due, "rows: not exactly once", np.arange(len(times)))
if len(sys.argv) > 3:
    sys.path.insert(0, "")
    module, function = sys.argv[3].split(":")
    base, draw = getattr(import_module(module), function)(), np.random.default_rng()
    for i in draw.permutation(rows)[:ROWS]:
        x = np.moveaxis(images[t["row"][i]], -1, 0) / 255
        noise = sigma * draw.standard_normal((VOTES, *x.shape))
        noise = np.round(255 * noise) / 255 if c["noise"] == "lattice" else noise
        answers = np.asarray(base((x + noise).astype(np.float32))).argmax(1)
        k = (answers == t["predicted"][i]).sum()  # so few come once in a million times
        likely = k == VOTES or betainc(VOTES - k, k + 1, 1 - t["p_lower"][i]) > 1e-6
        check(likely, f"row {t['row'][i]}: {k} of {VOTES} votes of our own")
print(
    f"{len(FAULTS)} faults; sigma {sigma:g}, alpha {alpha:g};",
    *(f"{k} {v}" for k, v in stats.items()),
)
sys.exit(bool(FAULTS))
