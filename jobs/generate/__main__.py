"""`python -m jobs.generate`."""

from jobs.generate import COMMAND

if __name__ == "__main__":
    raise SystemExit(COMMAND.run())
