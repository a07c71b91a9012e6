"""Chosen noise: small changes of a picture that make a classifier wrong.

An attack is a small machine (`base.StepAttack`) that says, for each row, which picture the model is
to be asked about next. `engine.loop` drives it on any callable ``model`` from float32
``[N, C, H, W]`` in [0, 1] to logits ``[N, K]`` that treats each row on its own.

methods/     the attacks that a person chooses from, one a file
autoattack/  what only its ensembles are made of: attacks that leave hopeless rows early
engine/      what drives attacks: calls of fixed sizes, restarts, targets, several in turn
geometry/    where pictures may lie: balls, the lattice of whole levels, projections
trust/       whether a result is worth anything
"""
