"""`python -m jobs.evaluate`."""

from jobs.evaluate import COMMAND

if __name__ == "__main__":
    raise SystemExit(COMMAND.run())
