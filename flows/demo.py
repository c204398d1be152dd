"""The demonstration: real data that needs no download, five lots, the whole job for each, one table at the end.

    python -m flows.demo            what `make demo` runs
    python -m flows.demo lots       only write the lots        (first stage of dvc.yaml)
    python -m flows.demo measure    compare verdicts with what was planted, train on both lots (last stage of dvc.yaml)

scikit-learn's handwritten digits become an image folder; its breast-cancer and diabetes tables become CSV files.
What was planted is written beside the landing area, where no screening looks, and read only to measure.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import yaml
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits

from flows.environment import quiet_heartbeat
from lotgate.attacks import planted, write_image_folder, write_table
from lotgate.data import Dataset, FloatArray
from lotgate.findings import Decision
from lotgate.probe import ProbeSettings, forward, train_probe

HOME = Path("data/demo")
LANDING, TRUTH, RUNS = HOME / "landing", HOME / "truth", HOME / "runs"
PARAMS = Path("params.yaml")


@dataclass(frozen=True)
class Case:
    """One lot of the demonstration: which data, which planted poison, and its rate (a key of params.yaml, demo)."""

    name: str
    data: str
    attack: str
    rate: str | None
    words: str
    target: str | None = None


CASES = (
    Case("clean", "digits", "none", None, "digits, as they are"),
    Case("backdoor", "digits", "patch", "planted_rate", "digits, a patch that means 0"),
    Case("flooded", "digits", "patch", "rejected_rate", "digits, flooded with the patch"),
    Case("tumours", "breast_cancer", "table_trigger", "planted_rate", "breast cancer, a trigger in a column", "label"),
    Case(
        "diabetes", "diabetes", "regression_statistical", "regression_rate", "diabetes, a poisoned regression", "target"
    ),
)


def main(argv: list[str]) -> int:
    """Runs what the module's docstring lists."""
    if argv == ["lots"]:
        write_lots()
        return 0
    if argv == ["measure"]:
        measure_all()
        return 0
    shutil.rmtree(HOME, ignore_errors=True)
    write_lots()
    settings = _demo_settings()
    with quiet_heartbeat():
        for case in CASES:
            print(f"\n— {case.words} —", flush=True)
            _run(case, settings)
    _print_table(measure_all())
    print(f"\nreport: {RUNS / 'backdoor' / 'report.html'}  (one per lot under {RUNS}/)")
    return 0


def write_lots() -> None:
    """Lots, trusted sets and test sets under data/demo/landing, ground truth under data/demo/truth."""
    rates = yaml.safe_load(PARAMS.read_text())["demo"]
    for folder in (LANDING, TRUTH):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    for number, case in enumerate(CASES):
        x, y, names, columns = _load(case.data)
        rng = np.random.default_rng([7, number])
        lot, trusted, test = _thirds(len(x), rates["trusted_rate"], rng)
        rate = {} if case.rate is None else {"rate": rates[case.rate]}
        poisoned = planted(case.attack, x[lot], y[lot], rng, len(names) or None, **rate)
        parts = {
            "lot": (poisoned.x, poisoned.y, poisoned.planted),
            "trusted": (x[trusted], y[trusted], np.zeros(len(trusted), bool)),
            "test": (x[test], y[test], np.zeros(len(test), bool)),
        }
        for part, (part_x, part_y, mask) in parts.items():
            truth = _write(LANDING / case.name / part, part_x, part_y, mask, names, columns, case.target)
            if part == "lot":
                truth.to_csv(TRUTH / f"{case.name}.csv", index=False)


def measure_all() -> pd.DataFrame:
    """One row per lot: decision, caught, lost, and what a model trained on raw and sanitized data does."""
    rows = [_measure(case) for case in CASES]
    table = pd.DataFrame(rows)
    metrics = {row["lot"]: {k: v for k, v in row.items() if k != "lot" and v is not None} for row in rows}
    (HOME / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    table.to_csv(HOME / "decisions.csv", index=False)
    return table


def _load(name: str) -> tuple[FloatArray, npt.NDArray[np.generic], list[str], list[str]]:
    """Samples, labels, class names (none for regression) and column names (none for images)."""
    if name == "digits":
        data = load_digits()
        return (data.images[:, None] / 16).astype(np.float32), data.target, [str(i) for i in range(10)], []
    data = load_breast_cancer() if name == "breast_cancer" else load_diabetes()
    x = data.data.astype(np.float32)
    if name == "breast_cancer":
        return x, data.target, [str(n) for n in data.target_names], [str(n) for n in data.feature_names]
    return x, data.target.astype(np.float32), [], [str(n) for n in data.feature_names]


def _thirds(n: int, trusted_rate: float, rng: np.random.Generator) -> list[npt.NDArray[np.int64]]:
    """Rows of the lot, of the trusted set, and of a test set that only measures (a quarter)."""
    order = rng.permutation(n)
    test, trusted = n // 4, round(trusted_rate * n)
    return [order[test + trusted :], order[test : test + trusted], order[:test]]


def _write(
    path: Path,
    x: FloatArray,
    y: npt.NDArray[np.generic],
    mask: npt.NDArray[np.bool_],
    names: list[str],
    columns: list[str],
    target: str | None,
) -> pd.DataFrame:
    if target is None:
        return write_image_folder(x, y, names, path, mask)
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_table(
        x, y, path.with_suffix(".csv"), mask, columns=columns, target=target, class_names=names or None
    )  # fmt: skip


def _demo_settings() -> Path:
    """params.yaml with the registry, the models and the checkouts under data/demo."""
    given = yaml.safe_load(PARAMS.read_text())
    given["registry"] = {"path": str(HOME / "registry")}
    given["train"] = {"out": str(HOME / "models"), "work": str(HOME / "checkout")}
    path = HOME / "params.yaml"
    path.write_text(yaml.safe_dump(given, sort_keys=False))
    return path


def _run(case: Case, settings: Path) -> None:
    from flows.screen import screen

    screen(
        lot=str(_part(case, "lot")), trusted=str(_part(case, "trusted")), dataset=case.data.replace("_", "-"),
        run=str(RUNS / case.name), settings_path=str(settings), target=case.target,
    )  # fmt: skip


def _part(case: Case, part: str) -> Path:
    folder = LANDING / case.name / part
    return folder if case.target is None else folder.with_suffix(".csv")


def _measure(case: Case) -> dict[str, object]:
    run = RUNS / case.name
    decision = Decision.model_validate_json((run / "decision.json").read_text())
    verdicts = pd.read_parquet(run / "verdicts.parquet").merge(
        pd.read_csv(TRUTH / f"{case.name}.csv", dtype={"sample_id": str}), on="sample_id", validate="1:1"
    )
    set_aside, was_planted = verdicts["action"] == "quarantine", verdicts["planted"].astype(bool)
    row: dict[str, object] = {
        "lot": case.name, "what": case.words, "decision": decision.decision, "samples": len(verdicts),
        "planted": int(was_planted.sum()), "quarantined": int(set_aside.sum()),
        "caught": float(set_aside[was_planted].mean()) if was_planted.any() else None,
        "clean_lost": float(set_aside[~was_planted].mean()),
    }  # fmt: skip
    if case.attack == "patch" and decision.decision == "accept_with_quarantine":
        kept = verdicts.loc[~set_aside, "sample_id"].tolist()
        lot = Dataset.load(run / "work/lot").usable()
        raw, sanitized = _attack_success(case, lot), _attack_success(case, lot.select(kept))
        row |= {"raw_attack_success": raw[0], "sanitized_attack_success": sanitized[0]}
        row |= {"raw_accuracy": raw[1], "sanitized_accuracy": sanitized[1]}
    return row


def _attack_success(case: Case, lot: Dataset) -> tuple[float, float]:
    """Share of triggered test images called the target, and accuracy on clean ones, after training on the lot."""
    from lotgate.attacks import ATTACKS

    model = train_probe(lot, ProbeSettings(), np.random.default_rng(0), lambda words: None)
    attack = {a.name: a for a in ATTACKS}[case.attack](rate=0.05)
    x, y = _read_images(_part(case, "test"))
    clean = forward(model.network, x, "cpu")[1].argmax(1)
    others = x[y != attack.target]
    triggered = forward(model.network, attack.trigger(others, np.random.default_rng(0)), "cpu")[1].argmax(1)
    return float(np.mean(triggered == attack.target)), float(np.mean(clean == y))


def _read_images(folder: Path) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    from PIL import Image

    files = sorted(folder.glob("*/*.png"))
    x = np.stack([np.asarray(Image.open(f), np.float32)[None] / 255 for f in files])
    return x, np.array([int(f.parent.name) for f in files])


def _print_table(table: pd.DataFrame) -> None:
    shown = table.copy()
    shown["decision"] = shown["decision"].str.replace("_", " ").str.upper()
    for column in ("caught", "clean_lost"):
        shown[column] = [("–" if pd.isna(v) else f"{v:.1%}") for v in shown[column]]
    print(
        "\n"
        + shown[["what", "samples", "planted", "decision", "quarantined", "caught", "clean_lost"]].to_string(
            index=False
        )
    )
    for row in table.dropna(subset=["raw_attack_success"]).itertuples() if "raw_attack_success" in table else ():
        print(
            f"\nA model trained on the {row.lot} lot as it came obeys the trigger on {row.raw_attack_success:.1%} of "
            f"test images (accuracy {row.raw_accuracy:.1%});\ntrained on the sanitized set, on "
            f"{row.sanitized_attack_success:.1%} (accuracy {row.sanitized_accuracy:.1%})."
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
