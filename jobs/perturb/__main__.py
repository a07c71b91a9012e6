"""`python -m jobs.perturb`."""

from jobs.perturb import COMMAND

if __name__ == "__main__":
    raise SystemExit(COMMAND.run())
