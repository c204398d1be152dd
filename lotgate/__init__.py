"""Lot acceptance for training data: screen, gate, quarantine, version, and only then train."""

import os

__version__ = "0.1.0"

# Set before torch loads OpenMP, which reads it then: threads that wait for one another spin for so many rounds, then
# sleep. Left alone they spin through their time slices wherever other processes want the cores, too (decision 49).
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
