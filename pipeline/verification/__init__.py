"""Whether what stands on disk is what its manifest says: every file, every row, every count."""
