"""Checks everything on disk against its manifest: every file, every row, every count."""
