"""`python -m jobs.train_classifier`."""

from jobs.train_classifier import COMMAND

if __name__ == "__main__":
    raise SystemExit(COMMAND.run())
