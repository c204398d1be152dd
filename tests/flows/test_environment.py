"""What Prefect needs is set before it is imported, and what the user set stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SHOW = (
    "import flows, os, sys; print('prefect' in sys.modules, os.environ.get('PREFECT_HOME'), os.environ['DO_NOT_TRACK'])"
)


def environment_of(folder: Path, **given: str) -> list[str]:
    """Imports flows in a fresh process, at home in `folder`."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "DO_NOT"))}
    here = str(Path(__file__).resolve().parents[2])
    env |= {"HOME": str(folder), "PYTHONPATH": os.pathsep.join([here, env.get("PYTHONPATH", "")]), **given}
    done = subprocess.run([sys.executable, "-c", SHOW], cwd=folder, env=env, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_a_fresh_machine_gets_a_home_of_its_own_and_no_folder_for_looking(tmp_path: Path) -> None:
    assert environment_of(tmp_path) == ["False", str(tmp_path / "data" / ".prefect"), "1"]
    assert list(tmp_path.iterdir()) == []


def test_what_the_user_has_set_up_stays(tmp_path: Path) -> None:
    assert environment_of(tmp_path, PREFECT_HOME="/else", DO_NOT_TRACK="0") == ["False", "/else", "0"]
    assert environment_of(tmp_path, PREFECT_API_URL="http://plant/api") == ["False", "None", "1"]
    (tmp_path / ".prefect").mkdir()
    (tmp_path / ".prefect" / "profiles.toml").write_text("")
    assert environment_of(tmp_path) == ["False", "None", "1"]
