"""The digests of a fixed small suite, here and at another commit, line by line.

    python tests/digests.py --against COMMIT              both sides, the commit's first
    python tests/digests.py --save FILE [--against COMMIT] one side alone: the commit's, or this one
    python tests/digests.py --compare FILE                this checkout against a saved side
    python tests/digests.py --only perturbed,export …      those commands, and what they need

Exit code 1, and a line for each digest that differs or is gone. What is new here is counted and is
no fault: a format may gain a column or a key. Some five minutes a side on two idle cores.

What it is for: a change that moves code must move no byte of a sample, a perturbation, a checkpoint
or a model's hash. So each side runs the same commands, and their results are all that is compared.

Held fixed, since each changes bits without a fault of the code:

- the machine and the environment (the same interpreter and packages run both sides: other versions
  of torch add sums in another order), and one torch thread;
- the faces: the command line and the files that it writes, read with pyarrow, numpy and safetensors
  alone. Nothing of `pipeline` or `jobs` is imported here, so modules may move between the sides;
  only `noisestack.__main__.main` and `noisestack.session.ray_session` must stand where they stood;
- the suite: scikit-learn's digits and sixty drawn colour pictures, weights of a few training steps.

Left out of a digest: versions, times, memory, the commit, the path that the suite lies in, a
manifest's hash of all these (`manifest_sha256`), and the
pictures for people (PNG), whose bytes belong to matplotlib.

Not pytest's, since it needs another commit: it runs where a step says that bytes stay. One file,
since each side's process is started with its path and sees no other file of this folder.
"""

import argparse
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).resolve()
ROOT = SCRIPT.parent.parent
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_VOLATILE = re.compile(
    r"(^|_)(versions?|seconds|time|times|duration|memory|host|git|commit|git_commit|started|ended|"
    r"created|finished|manifest_sha256|rate|per_second|second|rss|python|platform|device_name)($|_)|_s$|_mib$"
)
_OWN_ATTACK = '''
def half_way(model, x, y, eps):
    """One signed step of half the ball, for the suite's own attack."""
    import torch

    x = x.clone().requires_grad_(True)
    loss = torch.nn.functional.cross_entropy(model(x), y, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, x)
    return (x + eps / 2 * gradient.sign()).clamp(0, 1).detach()
'''


def commands() -> Iterator[tuple[str, str]]:
    """(name, command) of the suite, in the order in which they run.

    What a command writes lies in the folder of its name.
    """
    one = "--num-workers 1"
    yield "dataset", f"ingest --source digits --rows-per-shard 700 {one}"
    yield "dataset_rgb", f"ingest --source folder --input drawn --resize 16 {one}"
    classifier = (
        "train-classifier --dataset dataset --num-workers 0 --batch-size 64 --widths 16,24 "
        "--checkpoint-every 20"
    )
    yield "classifier", f"{classifier} --steps 40"
    yield (
        "classifier_robust",
        f"{classifier} --steps 8 --adversarial-loss pgd --eps 0.1 --attack-steps 2 "
        "--ema-halflife 500 --max-shift 1 --seed 3",
    )
    yield "classifier_trades", f"{classifier} --steps 4 --adversarial-loss trades --eps 0.1"
    stack = (
        "train-stack --num-workers 0 --batch-size 32 --embedding 32 --blocks 1,1 "
        "--warmup-steps 5 --learning-rate 0.004"
    )
    digits = f"{stack} --dataset dataset --stages 4,8 --widths 16,8"
    yield "stack", f"{digits} --steps 30 --layers 3,4 --checkpoint-every 15"
    yield (
        "stack_stages",
        f"{digits} --network stage --steps 6 --layers 2,3 --weighting elbo --stage-share 1,0.5 "
        "--data streaming",
    )
    yield (
        "stack_rgb",
        f"{stack} --dataset dataset_rgb --stages 8,16 --widths 16,8 --steps 5 --condition none "
        "--layers 2,2 --accumulate 2",
    )
    generate = f"generate --count 40 --rows-per-shard 16 {one}"
    nested = f"{generate} --model stack/model --seed 7"
    for sampler in ("ancestral", "ddpm", "ddim", "heun", "dpmpp_2m"):
        yield f"samples_{sampler}", f"{nested} --sampler {sampler} --guidance 1.5"
    yield (
        "samples_interval",
        f"{nested} --guidance 2 --guidance-low 0.1 --guidance-high 20 --threshold 0.9 "
        "--labels '3,<none>,7' --layers 4,2",
    )
    yield "samples_pools", f"{generate} --model stack_stages/model --pools stages"
    yield "samples_rgb", f"{generate} --model stack_rgb/model --sampler ancestral"
    perturb = "perturb --dataset dataset --limit 48 --rows-per-shard 20 --num-workers 1"
    for name, flags in _attacks():
        judge = "classifier_robust" if name == "transfer" else "classifier"
        yield f"perturbed_{name}", f"{perturb} --classifier {judge}/model {flags}"
    evaluate = (
        "evaluate --dataset dataset --classifier classifier/model --count 40 --neighbours 200 "
        "--bound-layers 16 --bound-rows 16 --bound-rows-per-layer 4"
    )
    yield "evaluation", f"{evaluate} --samples samples_heun --model stack/model"
    yield "evaluation_stages", f"{evaluate} --samples samples_pools --model stack_stages/model"
    yield "comparison", "compare --sets perturbed_pgd,perturbed_apgd,perturbed_square"
    yield "export", f"export perturbed_pgd {one}"


def chosen_commands(only: Sequence[str]) -> list[tuple[str, str]]:
    """The commands whose names begin so, and those whose results they need; all without a word."""
    suite = list(commands())
    needs = {
        name: {other for other, _ in suite if re.search(rf"[ ,]{other}(?=[ ,/]|$)", command)}
        for name, command in suite
    }
    wanted = {name for name, _ in suite if name.startswith(tuple(only) or "")}
    for name, _ in reversed(suite):
        wanted |= needs[name] if name in wanted else set()
    return [(name, command) for name, command in suite if name in wanted]


def _attacks() -> Iterator[tuple[str, str]]:
    """(name, flags) of each perturbation set: every attack once, and norms, targets and draws."""
    ball = "--eps 16/255"
    yield "pgd", f"--attack pgd {ball} --steps 5 --restarts 2"
    yield "pgd_l2", "--attack pgd --norm l2 --eps 0.6 --steps 5"
    yield "pgd_l1", "--attack pgd --norm l1 --eps 4 --steps 5"
    yield "ascent", f"--attack ascent {ball} --steps 3 --step-size 100"
    yield "fgsm", f"--attack fgsm {ball}"
    yield "mi_fgsm", f"--attack mi_fgsm {ball} --steps 3"
    yield "apgd", f"--attack apgd_ce {ball} --steps 10"
    yield "apgd_towards", f"--attack apgd_ce {ball} --steps 8 --target least_likely"
    yield "apgd_dlr", "--attack apgd_dlr --norm l2 --eps 0.6 --steps 8"
    yield "apgd_targeted", f"--attack apgd_targeted {ball} --steps 5 --restarts 2"
    yield "apgd_l1", "--attack apgd_ce --norm l1 --eps 4 --steps 10"
    yield "fab", f"--attack fab_targeted {ball} --steps 5 --restarts 2"
    yield "square", f"--attack square {ball} --steps 60 --eot-draws 2"
    yield "ensemble", "--attack autoattack --ensemble fast --eps 8/255 --limit 10"
    yield "deepfool", "--attack deepfool --norm l2 --steps 10"
    yield "ddn", "--attack ddn --norm l2 --steps 10"
    yield "fmn", "--attack fmn --norm linf --steps 10"
    yield "fmn_l1", "--attack fmn --norm l1 --steps 10 --target 3"
    yield "carlini_wagner", "--attack carlini_wagner --norm l2 --steps 8 --limit 12"
    yield "lbfgs", "--attack lbfgs --norm l2 --steps 4 --limit 12"
    yield "universal", "--attack universal --eps 24/255 --sample-rows 100 --steps 5"
    yield "own", f"--attack own_for_digests:half_way {ball}"
    yield (
        "transfer",
        "--attack transfer --source perturbed_pgd",
    )


# One side ---------------------------------------------------------------------------------------


def run_suite(place: Path, only: Sequence[str]) -> dict[str, str]:
    """Runs the suite in place with the packages of PYTHONPATH; returns {name: digest}.

    Called in a process of its own, in place, with one Ray session for all commands.
    """
    from noisestack.__main__ import main
    from noisestack.session import ray_session

    expected = Path(os.environ["PYTHONPATH"].partition(os.pathsep)[0]).resolve()
    used = Path(sys.modules["noisestack"].__file__ or "").resolve()
    if expected not in used.parents:
        raise SystemExit(f"{used} was imported, and not the packages of {expected}")
    draw_pictures(place / "drawn")
    (place / "own_for_digests.py").write_text(_OWN_ATTACK, encoding="utf-8")
    digests: dict[str, str] = {}
    with ray_session():
        for name, command in chosen_commands(only):
            start = time.monotonic()
            code = main([*shlex.split(command), "--output", name])
            if code != 0:  # the others still say something
                print(f"{name}: exit code {code} of noisestack {command}", file=sys.stderr)
            digests |= {f"{name}/exit code": str(code), **digests_of(place / name, place)}
            print(f"[{time.monotonic() - start:5.1f} s] {name}", file=sys.stderr, flush=True)
    return digests


def draw_pictures(folder: Path) -> None:
    """Sixty pictures of two classes and several sizes, from closed forms: bytes without a draw."""
    import numpy as np
    from PIL import Image

    for index in range(60):
        height, width = 18 + index % 3, 20 + index % 5
        rows, columns = np.mgrid[:height, :width]
        angle = index * 0.7
        wave = np.sin(0.4 * rows + angle) if index % 2 else np.cos(0.5 * columns + angle)
        grey = np.round(127 * (1 + wave))
        picture = np.stack([grey, 255 - grey, (grey + 4 * index) % 256], axis=-1).astype(np.uint8)
        place = folder / ("rows" if index % 2 else "columns")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(place / f"{index:02}.png")


def digests_of(folder: Path, place: Path) -> dict[str, str]:
    """{file:part: digest} of all that a command left: columns, tensors, keys of JSON."""
    found = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(place).as_posix()
        if not path.is_file() or any(
            part.startswith(".") for part in path.relative_to(place).parts
        ):
            continue
        parts = {
            ".parquet": _columns,
            ".safetensors": _tensors,
            ".json": _keys,
            ".jsonl": _lines,
        }.get(path.suffix)
        if parts is not None:
            for part, content in parts(path, str(place)):
                found[f"{relative}:{part}"] = hashlib.sha256(content).hexdigest()[:24]
    return found


def _columns(path: Path, place: str) -> Iterator[tuple[str, bytes]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    for name in table.column_names:
        column = table.select([name]).replace_schema_metadata(None).combine_chunks()
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, column.schema) as writer:
            writer.write_table(column)
        yield name, sink.getvalue().to_pybytes()


def _tensors(path: Path, place: str) -> Iterator[tuple[str, bytes]]:
    from safetensors.numpy import load_file

    for name, array in sorted(load_file(path).items()):
        yield name, f"{array.dtype} {array.shape} ".encode() + array.tobytes()


def _keys(path: Path, place: str) -> Iterator[tuple[str, bytes]]:
    yield from _leaves(json.loads(path.read_text(encoding="utf-8")), place)


def _lines(path: Path, place: str) -> Iterator[tuple[str, bytes]]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        for name, content in _leaves(json.loads(line), place):
            yield f"{number}.{name}", content


def _leaves(value: Any, place: str, depth: int = 3) -> Iterator[tuple[str, bytes]]:
    """Keys, and keys in keys; below that, all that stands there as one."""
    if isinstance(value, dict) and depth:
        for key, inner in value.items():
            if not _VOLATILE.search(key):
                for name, content in _leaves(inner, place, depth - 1):
                    yield f"{key}.{name}".rstrip("."), content
    else:
        text = json.dumps(_steady(value), sort_keys=True).replace(place, "SUITE")
        yield "", text.encode()


def _steady(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _steady(v) for k, v in value.items() if not _VOLATILE.search(k)}
    if isinstance(value, list):
        return [_steady(v) for v in value]
    return value


# Both sides -------------------------------------------------------------------------------------


def side(checkout: Path, what: str, only: Sequence[str]) -> dict[str, str]:
    """The digests that the packages of a checkout give, from a process of their own."""
    with tempfile.TemporaryDirectory(prefix="noisestack-digests-") as temporary:
        # The directory's name is of one length: a path in a table's header changes no more.
        place = Path(temporary).resolve() / "suite"
        place.mkdir()
        result = place.parent / "digests.json"
        # The suite's own attack lies in its folder.
        paths = {"PYTHONPATH": os.pathsep.join((str(checkout), str(place)))}
        environment = {**os.environ, **paths, **dict.fromkeys(THREADS, "1")}
        print(f"== {what}", file=sys.stderr, flush=True)
        start = time.monotonic()
        with (place.parent / "output.txt").open("w+", encoding="utf-8") as output:
            # -P: the folder of this script holds tests/serve, which would hide the package serve.
            finished = subprocess.run(
                [
                    sys.executable,
                    "-P",
                    str(SCRIPT),
                    "--side",
                    str(result),
                    "--only",
                    ",".join(only),
                ],
                cwd=place,
                env=environment,
                stdout=output,
                check=False,
            )
            if finished.returncode != 0:
                output.seek(0)
                print("".join(output.readlines()[-20:]), file=sys.stderr)
                raise SystemExit(f"the suite of {what} failed")
        digests: dict[str, str] = json.loads(result.read_text(encoding="utf-8"))
    print(f"== {what}: {len(digests)} digests in {time.monotonic() - start:.0f} s", file=sys.stderr)
    return digests


def side_of_commit(commit: str, only: Sequence[str]) -> dict[str, str]:
    """The same for a commit, unpacked into a folder that is removed again."""
    with tempfile.TemporaryDirectory(prefix="noisestack-commit-") as temporary:
        archive = Path(temporary) / "commit.tar"
        subprocess.run(["git", "archive", "--output", str(archive), commit], cwd=ROOT, check=True)
        checkout = Path(temporary) / "checkout"
        with tarfile.open(archive) as packed:
            packed.extractall(checkout, filter="data")
        return side(checkout, commit, only)


def compare(before: dict[str, str], after: dict[str, str]) -> int:
    """Prints what differs; returns the exit code."""
    gone = sorted(set(before) - set(after))
    gained = sorted(set(after) - set(before))
    changed = sorted(name for name in before if after.get(name, before[name]) != before[name])
    for name in gone:
        print(f"gone     {name}")
    for name in changed:
        print(f"changed  {name}  {before[name]} -> {after[name]}")
    for name in gained:
        print(f"gained   {name}")
    equal = len(before) - len(gone) - len(changed)
    print(f"{equal} equal, {len(changed)} changed, {len(gone)} gone, {len(gained)} gained")
    failed = [name for name in after if name.endswith("/exit code") and after[name] != "0"]
    if failed:
        print(f"failed here: {', '.join(failed)}")
    return 1 if gone or changed or failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--against", metavar="COMMIT", help="the other side")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write one side's digests there")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="the other side, as saved")
    parser.add_argument(
        "--only", metavar="NAME,…", default="", help="commands that begin so, and what they need"
    )
    parser.add_argument("--side", type=Path, help=argparse.SUPPRESS)
    told = parser.parse_args()
    only = [word for word in told.only.split(",") if word]
    if told.side is not None:
        told.side.write_text(json.dumps(run_suite(Path.cwd(), only), indent=1), encoding="utf-8")
        return 0
    if told.save is not None:
        what = (ROOT, "this checkout", only)
        digests = side_of_commit(told.against, only) if told.against else side(*what)
        told.save.write_text(json.dumps(digests, indent=1, sort_keys=True), encoding="utf-8")
        return 0
    if (told.against is None) == (told.compare is None):
        parser.error("give --against COMMIT or --compare FILE")
    if told.compare is not None:
        before = json.loads(told.compare.read_text(encoding="utf-8"))
        made = {name for name, _ in chosen_commands(only)}
        before = {name: value for name, value in before.items() if name.split("/")[0] in made}
    else:
        before = side_of_commit(told.against, only)
    return compare(before, side(ROOT, "this checkout", only))


if __name__ == "__main__":
    raise SystemExit(main())
