"""The networks, one file each: what maps a noisy picture, its level and a condition to numbers."""
