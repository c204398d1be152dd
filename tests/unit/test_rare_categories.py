"""A clean table of many rare categories, of which the trusted set has seen but some."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from lotgate import cli
from tests.small_lots import write_settings


def machines(n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Machines of 120 models, common and rare. Each model is of one line, with few exceptions; numbers tell little."""
    common = np.arange(1, 121) ** -0.8
    model = rng.choice(120, n, p=common / common.sum())
    north = (model * 7919 % 10 < 4) ^ (rng.random(n) < 0.05)
    numbers = {"power": rng.normal(size=n) + 0.8 * north, "speed": rng.normal(size=n) - 0.5 * north}
    names = [f"model {i}" for i in model]
    return pd.DataFrame({"model": names, **numbers, "load": rng.normal(size=n), "line": np.where(north, "N", "S")})


def test_models_that_the_trusted_set_lacks_are_not_a_group_of_their_own(tmp_path: Path) -> None:
    """Such a lot was rejected: 295 of its rows lay where no trusted row could be."""
    rng = np.random.default_rng(2)
    for name, n in (("lot", 800), ("trusted", 80)):
        machines(n, rng).to_csv(tmp_path / f"{name}.csv", index=False)
    settings = write_settings(
        tmp_path / "p.yaml", policy={"voters": ["unexplained_clusters"]}, probe={"epochs": 20, "width": 32},
        detectors={"unexplained_clusters": {"clusters": [2, 3, 4, 6]}},
    )  # fmt: skip
    lot, trusted, out = (str(tmp_path / name) for name in ("lot.csv", "trusted.csv", "out"))
    argv = ["scan", lot, "--trusted", trusted, "--target", "line", "--out", out, "--settings", str(settings), "--quiet"]
    assert cli.run(argv) == cli.EXIT_ACCEPTED
    verdicts = pd.read_parquet(tmp_path / "out" / "verdicts.parquet")
    assert (verdicts["action"] == "quarantine").mean() <= 0.01
