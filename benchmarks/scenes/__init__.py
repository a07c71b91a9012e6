"""Drawn scenes whose captions say exactly what is there: an oracle for pictures from text.

No part of the product: benchmarks and tests draw here, and read back what a model made.
"""
