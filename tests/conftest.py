"""Two torch processes with two threads each on two cores are ten times slower than with one each."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
