"""Frozen encoders of texts: sentences to token states and pooled vectors."""
