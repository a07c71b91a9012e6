"""`python -m jobs.compare`."""

from jobs.compare import COMMAND

if __name__ == "__main__":
    raise SystemExit(COMMAND.run())
