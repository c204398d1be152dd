"""Threads of OpenMP that wait for one another do not spin for long, unless the user says how they shall wait."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only on Linux torch brings GNU's OpenMP, as CI has it")

WAITING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_DISPLAY_ENV")


def rounds(**given: str) -> set[int]:
    """How long threads spin, as each OpenMP says that a fresh process loads with a module of ours."""
    env = {name: value for name, value in os.environ.items() if name not in WAITING}
    command = [sys.executable, "-c", "import lotgate.probe"]
    said = subprocess.run(
        command, env=env | {"OMP_DISPLAY_ENV": "verbose", **given}, capture_output=True, text=True, check=True
    )
    return {int(n) for n in re.findall(r"GOMP_SPINCOUNT = '(\d+)'", said.stderr)}


def test_waiting_threads_fall_asleep_before_their_time_slice_is_over() -> None:
    assert rounds() == {20_000}


@pytest.mark.parametrize(("given", "expected"), [({"GOMP_SPINCOUNT": "7"}, 7), ({"OMP_WAIT_POLICY": "PASSIVE"}, 0)])
def test_what_the_user_has_set_stays(given: dict[str, str], expected: int) -> None:
    assert rounds(**given) == {expected}
