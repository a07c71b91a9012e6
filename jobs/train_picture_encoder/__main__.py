"""`python -m jobs.train_picture_encoder`."""

from jobs.train_picture_encoder import COMMAND

if __name__ == "__main__":
    raise SystemExit(COMMAND.run())
