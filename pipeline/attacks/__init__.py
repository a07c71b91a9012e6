"""Chosen noise: perturbations found by gradient ascent on the input of a classifier.

An attack is one function ``(model, x, y, *, ...) -> adversarial x``. ``model`` is any callable from
float32 ``[N, C, H, W]`` in [0, 1] to logits ``[N, K]`` that treats each row on its own.
"""
