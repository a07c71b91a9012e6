"""Pictures of results, drawn with matplotlib and Pillow, for people."""
