"""The sections of `benchmarks.gpu_check`, each a generator of named figures."""
