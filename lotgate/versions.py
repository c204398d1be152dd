"""Versions of Lotgate and of what its results depend on."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from lotgate import __version__

STACK = ("torch", "torchvision", "numpy", "pandas", "scikit-learn", "great-expectations", "prefect", "dvc")


def versions() -> dict[str, str]:
    """By name."""
    return {"lotgate": __version__, "python": platform.python_version()} | {name: installed(name) for name in STACK}


def installed(name: str) -> str:
    """The version of a distribution, or "absent"."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
