"""`python -m jobs.train_stack`."""

from jobs.train_stack import COMMAND

if __name__ == "__main__":
    raise SystemExit(COMMAND.run())
