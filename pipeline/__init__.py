"""The mathematics and the file formats of Noisestack: torch, numpy and pyarrow, never Ray."""
