"""Certificate sets: how far each picture can be moved without another answer, and its proof."""
