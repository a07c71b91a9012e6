"""`python -m jobs.train_prior`."""

from jobs.train_prior import COMMAND

if __name__ == "__main__":
    raise SystemExit(COMMAND.run())
