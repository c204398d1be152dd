"""Versions of Lotgate and of what its results depend on."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from lotgate import __version__

STACK = ("torch", "torchvision", "numpy", "pandas", "scikit-learn", "great-expectations", "prefect", "dvc")


def versions() -> dict[str, str]:
    """By name; "absent" for what is not installed."""
    found = {"lotgate": __version__, "python": platform.python_version()}
    for name in STACK:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found
