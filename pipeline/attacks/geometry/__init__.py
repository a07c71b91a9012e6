"""Where pictures may lie: norms, balls, the lattice of whole levels, projections."""
