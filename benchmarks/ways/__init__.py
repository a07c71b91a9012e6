"""Ways from a sentence to a picture that benchmarks train and ask; one a file."""
