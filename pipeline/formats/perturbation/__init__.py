"""Perturbation sets: the rows, their arithmetic, what is written, read back and checked."""
