"""Every bad input that docs/refused.md shows: a command line each, in the folder of its inputs.

To add one, add a line under its command; what it names is written by `refused_inputs.py`. Then
`python -m docs.tables.refused`. A line with `ray=True` starts Ray before it is refused: the script
runs it and the test of the table does not.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """A command line behind `noisestack`, with flags as a person types them."""

    line: str
    ray: bool = False


_STACK = "train-stack --dataset dataset --output out"
_GENERATE = "generate --model stack --output out"
_PERTURB = "perturb --dataset dataset --classifier classifier --output out"
_CERTIFY = "certify --dataset dataset --classifier classifier --output out"
_PARQUET = "ingest --source parquet --output out --input"
_FOLDER = "ingest --source folder --output out --input"

CASES = (
    # the command line itself
    Case("genrate"),
    Case("generate"),
    Case(f"{_GENERATE} --cuont 5"),
    Case(f"{_GENERATE} 5"),
    Case(f"{_GENERATE} --count"),
    Case(f"{_GENERATE} --count many"),
    Case(f"{_GENERATE} --count 0"),
    Case(f"{_GENERATE} --config nowhere.yaml"),
    Case(f"{_GENERATE} --config unknown_key.yaml"),
    Case(f"{_GENERATE} --config key_twice.yaml"),
    Case(f"{_GENERATE} --config no_mapping.yaml"),
    Case("generate --model stack --output s3://bucket/samples"),
    Case("generate --model gs://bucket/stack --output out"),
    Case("generate --model stack --output file:///samples"),
    Case("generate --model stack --output ''"),
    # ingest
    Case("ingest --output out --source digits --input pictures"),
    Case(f"{_FOLDER} nowhere"),
    Case(f"{_FOLDER} empty"),
    Case(f"{_FOLDER} pictures --classes cat,cat"),
    Case(f"{_FOLDER} pictures --classes cat"),
    Case(f"{_FOLDER} pictures --resize 32 --fit squeeze"),
    Case(f"{_FOLDER} pictures --fit pad"),
    Case(f"{_FOLDER} pictures --resize 32 --pad-fill 9"),
    Case(f"{_FOLDER} pictures --splits-from column"),
    Case(f"{_FOLDER} pictures --test-fraction 1"),
    Case(f"{_FOLDER} stray"),
    Case(f"{_FOLDER} split_or_class"),
    Case(f"{_FOLDER} one_level_too_high"),
    Case(f"{_FOLDER} half_divided"),
    Case(f"{_FOLDER} reserved"),
    Case(f"{_FOLDER} loop"),
    Case(f"{_FOLDER} named_again"),
    Case(f"{_FOLDER} named_outside"),
    Case(f"{_FOLDER} unnamed"),
    Case(f"{_FOLDER} damaged", ray=True),
    Case(f"{_FOLDER} mixed", ray=True),
    Case(f"{_PARQUET} nowhere"),
    Case(f"{_PARQUET} empty"),
    Case(f"{_PARQUET} numbers/cut.parquet"),
    Case(f"{_PARQUET} numbers/no_label --label-column label"),
    Case(f"{_PARQUET} numbers/null_label"),
    Case(f"{_PARQUET} numbers/float_label"),
    Case(f"{_PARQUET} numbers/two_labels"),
    Case(f"{_PARQUET} numbers/id_twice --id-column id"),
    Case(f"{_PARQUET} numbers/split_unknown --splits-from column"),
    Case(f"{_PARQUET} numbers/hive"),
    Case(f"{_PARQUET} numbers/text_image"),
    Case(f"{_PARQUET} numbers/no_label --image-column picture"),
    Case("ingest --source idx --output out --input empty"),
    # train-stack
    Case("train-stack --dataset pictures --output out"),
    Case("train-stack --dataset stack --output out"),
    Case("train-stack --dataset unlabelled --output out --stages 4,8 --widths 8,8 --blocks 1,1"),
    Case(f"{_STACK} --stages 4,16 --widths 8,8 --blocks 1,1"),
    Case(f"{_STACK} --stages 4,8 --widths 8 --blocks 1,1"),
    Case(f"{_STACK} --stages 4,8 --widths 8,8 --blocks 1,1 --stage-share 1"),
    Case(f"{_STACK} --stages 4,8 --widths 8,8 --blocks 1,x"),
    # train-classifier
    Case("train-classifier --dataset unlabelled --output out"),
    Case("train-classifier --dataset dataset --output out --eps 0.001"),
    Case("train-classifier --dataset dataset --output out --adversarial-loss pgd --eps 8"),
    # generate
    Case("generate --model nowhere --output out"),
    Case("generate --model classifier --output out"),
    Case("generate --model pickled --output out"),
    Case("generate --model weights.pt --output out"),
    Case(f"{_GENERATE} --labels cat"),
    Case(f"{_GENERATE} --labels 10"),
    Case(f"{_GENERATE} --labels '\"3'"),
    Case(f"{_GENERATE} --per-class 3=5,4"),
    Case(f"{_GENERATE} --per-class 3=5,3=6"),
    Case(f"{_GENERATE} --per-class 5 --count 5"),
    Case(f"{_GENERATE} --labels 3 --per-class 5"),
    Case("generate --model unconditional --output out --labels 3"),
    Case(f"{_GENERATE} --labels-from numbers/labels.parquet"),
    Case(f"{_GENERATE} --labels-from numbers/labels.parquet --labels-column class"),
    Case(f"{_GENERATE} --sampler euler"),
    Case(f"{_GENERATE} --layers 3"),
    Case(f"{_GENERATE} --guidance-low 5 --guidance-high 2"),
    # perturb
    Case("perturb --dataset dataset --classifier nowhere --output out"),
    Case("perturb --dataset dataset --classifier stack --output out"),
    Case("perturb --dataset dataset --classifier wide --output out"),
    Case("perturb --dataset dataset --classifier classifiers:nobody --output out"),
    Case("perturb --dataset dataset --classifier classifiers:not_a_module --output out"),
    Case("perturb --dataset dataset --classifier classifiers:probabilities --output out"),
    Case("perturb --dataset dataset --classifier classifiers:nan --output out"),
    Case("perturb --dataset dataset --classifier classifiers:no_gradient --output out"),
    Case("perturb --dataset dataset --classifier classifiers:three_classes --output out"),
    Case("perturb --dataset dataset --classifier classifiers:constant --output out"),
    Case("perturb --dataset dataset --classifier classifiers:offset --output out"),
    Case("perturb --dataset dataset --classifier classifiers:raises --output out"),
    Case(f"{_PERTURB} --weights weights.pt"),
    Case(f"{_PERTURB} --split valid"),
    Case(f"{_PERTURB} --attack pdg"),
    Case(f"{_PERTURB} --attack mine:attack"),
    Case(f"{_PERTURB} --norm l0"),
    Case(f"{_PERTURB} --eps 0.001"),
    Case(f"{_PERTURB} --eps 8"),
    Case(f"{_PERTURB} --eps 8/0"),
    Case(f"{_PERTURB} --norm l2 --eps 99"),
    Case(f"{_PERTURB} --step-size 40"),
    Case(f"{_PERTURB} --eps -0.1"),
    Case(f"{_PERTURB} --step-size 0"),
    Case(f"{_PERTURB} --attack deepfool --eps 0.1"),
    Case(f"{_PERTURB} --target cat"),
    Case(f"{_PERTURB} --attack apgd_dlr --target 3"),
    Case(f"{_PERTURB} --attack transfer"),
    Case(f"{_PERTURB} --attack square --norm l2 --step-size 0.1"),
    # certify
    Case("certify --dataset dataset --output out --sigma 0.25"),
    Case(f"{_CERTIFY} --sigma 0"),
    Case(f"{_CERTIFY} --sigma 64"),
    Case(f"{_CERTIFY} --sigma 0.25 --alpha 0.5"),
    Case(f"{_CERTIFY} --sigma 0.25 --n 50"),
    Case(f"{_CERTIFY} --sigma 0.25 --radii 0.5,1.5"),
    Case(f"{_CERTIFY} --sigma 0.25 --tolerance 0"),
    Case(f"{_CERTIFY} --sigma 0.25 --radii 0.5 --tolerance 0.1"),
    Case(f"{_CERTIFY} --sigma 0.25 --n 5 --n0 5"),
    Case("certify --dataset dataset --classifier wide --output out --sigma 0.25"),
    Case("certify --dataset dataset --classifier classifiers:nan --output out --sigma 0.25"),
    Case("certify --dataset dataset --classifier classifiers:chance --output out --sigma 0.25"),
    Case("certify --dataset dataset --classifier classifiers:mixing --output out --sigma 0.25"),
    # evaluate, compare, boundary, verify, export, serve
    Case("evaluate --samples nowhere --dataset dataset --classifier classifier --output out"),
    Case("evaluate --samples samples --dataset dataset --classifier wide --output out"),
    Case("compare --sets dataset,samples --output out"),
    Case("boundary --dataset dataset --output out"),
    Case("boundary --dataset dataset --classifiers a=wide --output out"),
    Case("boundary --dataset dataset --classifiers a=classifier --sigmas b=0.25 --output out"),
    Case("boundary --dataset dataset --classifiers a=classifier --sigmas a=64 --output out"),
    Case("boundary --dataset dataset --classifiers a=classifier --row 999 --output out"),
    Case("verify"),
    Case("verify nowhere"),
    Case("verify empty"),
    Case("verify several"),
    Case("verify samples --dataset dataset"),
    Case("export nowhere --output out"),
    Case("export classifier --output out"),
    Case("serve --model nowhere"),
    Case("serve --model classifier"),
    Case("serve --model stack --port 70000"),
)
