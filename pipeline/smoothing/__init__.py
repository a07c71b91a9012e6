"""Smoothing: a classifier's answer under Gaussian noise, and how far it provably does not change.

Everything here is in pixel units of [0, 1]: sigma, radii, tolerances. A stack, which sees pictures
in [-1, 1], has twice that sigma for the same noise.
"""
