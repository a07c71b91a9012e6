"""Perturbation sets: how their rows are made, and whether they are to be trusted."""
