"""How a stack and a classifier learn: what a worker does, without Ray."""
