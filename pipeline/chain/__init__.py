"""The noising chain: keyed noise, the Haar transform, the schedule and its exact transitions.

Time runs from noise (t = 0) to picture (t = T), against the field's habit: what DDPM calls ``x_0``
is ``z_T`` here.
"""
