"""`python -m jobs.boundary`."""

from jobs.boundary import COMMAND

if __name__ == "__main__":
    raise SystemExit(COMMAND.run())
