"""Classifiers that a user brings, each kind a file: see `pipeline.user_models.load`."""
