"""Chosen noise: small changes of a picture that make a classifier wrong.

An attack is a small machine (`base.StepAttack`) that says, for each row, which picture the model is
to be asked about next. `engine.attack_rows` drives it on any callable ``model`` from float32
``[N, C, H, W]`` in [0, 1] to logits ``[N, K]`` that treats each row on its own.
"""
