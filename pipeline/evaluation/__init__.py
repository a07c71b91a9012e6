"""Judging a sample set: against a classifier, against real pictures, against the training rows."""
