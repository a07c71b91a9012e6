"""Side-by-side measurements. Importing the package gives every library one thread.

Before torch or numpy is imported, which read these variables once: `python -m benchmarks.NAME`
imports the package first. Ray's workers and other child processes inherit them.
"""

import os

THREADS = 1

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ARROW_NUM_THREADS"):
    os.environ[_name] = str(THREADS)
