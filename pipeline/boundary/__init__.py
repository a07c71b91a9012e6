"""Where a classifier's answer changes: maps, distances, how straight it is on the way there.

Nothing here knows what answers: a `DecisionRule` holds a callable from pictures to classes and,
where there is one, a callable from pictures to logits with a gradient. Lengths are in L2, for
pictures with values in [0, 1].

Lines and planes are straight and may leave the box of pictures, as the noise of smoothing does, so
that what is known in closed form holds exactly. Only where two kinds of noise are compared
(`noise_length`) does each picture stay one: there a length is measured after the box has cut it.
"""
