"""The attacks that a person chooses from, one a file."""
