"""The attacks that a person chooses from, one a file.

A new attack is a new file here with an `AttackEntry` at its top; `pipeline.attacks.settings`
gathers them.
"""
