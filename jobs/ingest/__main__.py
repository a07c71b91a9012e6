"""`python -m jobs.ingest`."""

from jobs.ingest import COMMAND

if __name__ == "__main__":
    raise SystemExit(COMMAND.run())
