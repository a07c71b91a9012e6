"""`python -m jobs.certify`."""

from jobs.certify import COMMAND

if __name__ == "__main__":
    raise SystemExit(COMMAND.run())
