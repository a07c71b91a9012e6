"""`python -m jobs.embed`."""

from jobs.embed import COMMAND

if __name__ == "__main__":
    raise SystemExit(COMMAND.run())
