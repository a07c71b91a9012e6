"""Certify a smoothed classifier's answers: Ray Data spreads row ranges over actors that vote.

OUTPUT/part-00000.parquet ...   the certificate set's shards
OUTPUT/certified.png            certified accuracy against the radius
OUTPUT/manifest.json            base, what is certified, counts, the curve; written last
"""

from pathlib import Path

from jobs.certify.config import CertifyConfig
from jobs.certify.manifest import manifest_of
from jobs.certify.task import Task
from jobs.certify.words import say_result, say_task, say_warnings
from jobs.common.bad_rows import refuse_quarantine
from jobs.common.records import remove_records
from jobs.common.row_ranges import RowRanges
from jobs.common.sharded import run_shards
from noisestack.command import Command
from noisestack.session import ray_session
from pipeline.formats.certificate.set import open_certificate_set, write_certificate_manifest
from pipeline.formats.claim import claim_output
from pipeline.perturbation_terms import TrustWarning
from pipeline.plots.certified import draw_certified


def main(config: CertifyConfig) -> Path:
    """Make, or finish, a certificate set: read, look, vote, say in a manifest, draw.

    Returns:
        Its directory.

    Raises:
        UserError: the question has no answer, base and dataset do not fit, the base's answers are
            no function of the picture, or the output holds other results.
    """
    task = Task.read(config)
    with claim_output(config.output, task.fingerprint, overwrite=config.overwrite) as output:
        if output.finished:
            counts = open_certificate_set(output.path).manifest["counts"]
            refuse_quarantine(config.on_bad_row, counts["quarantined"], output.path)
            print(f"certificate set: {output.path} (finished before)", flush=True)
            return output.path
        say_task(task)
        first_warnings = task.look()
        say_warnings(first_warnings)
        with ray_session():
            records = run_shards(
                task.pool(output.directory),
                RowRanges(task.stop, config.shard_rows),
                output.directory,
                describe="certify",
                counted="draws",
            )
        manifest = manifest_of(task, records, first_warnings)
        refuse_quarantine(config.on_bad_row, manifest["counts"]["quarantined"], output.directory)
        draw_certified(output.directory, manifest)
        write_certificate_manifest(output.directory, manifest)
        remove_records(output.directory)
    say_result(manifest, output.path)
    say_warnings([TrustWarning(**stated) for stated in manifest["warnings"][len(first_warnings) :]])
    print(f"certificate set: {output.path}", flush=True)
    return output.path


COMMAND = Command(CertifyConfig, main, summary="radii within which smoothed answers provably stay")
