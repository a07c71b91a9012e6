"""Whether the result of an attack is worth anything."""
