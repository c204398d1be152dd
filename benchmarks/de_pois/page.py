"""Rows → docs/de-pois-tables.md; every figure on it comes from results.csv or from published/."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from benchmarks.de_pois import tables
from benchmarks.de_pois.lots import SIZES
from benchmarks.de_pois.parts import COMPONENTS, MAIN, PARTS, TABLES, USUAL
from benchmarks.de_pois.reading import claims, summary
from benchmarks.de_pois.results import published
from benchmarks.detection.data import ROOT
from lotgate.files import write_text

PAGE = ROOT / "docs/de-pois-tables.md"
ALONG_RATE = {
    "Figure 5, accuracy": "paper_accuracy", "Figure 6, recall": "paper_recall", "Figure 7, F1": "paper_f1",
    "Ours: F1 of poison": "f1", "Ours: balanced accuracy": "balanced_accuracy", "Ours: AUROC": "auroc",
}  # fmt: skip
FEW = {
    "accuracy (paper's convention)": "paper_accuracy", "F1 (paper's convention)": "paper_f1",
    "F1 of poison": "f1", "balanced accuracy": "balanced_accuracy", "AUROC": "auroc",
}  # fmt: skip

IMAGES = (("mnist_t10k", "mnist"), ("cifar10", "cifar10"))


def write_page(rows: pd.DataFrame, path: Path = PAGE) -> Path:
    """Writes the page from the rows there are."""
    return write_text(path, page(rows))


def page(rows: pd.DataFrame) -> str:
    """The page as Markdown."""
    table_iii = published("table_iii")
    measured = rows[rows["method"].notna() & rows["n"].notna()]
    sections: dict[str, Callable[[], str]] = {
        "What reproduces, what does not, and why": lambda: summary(measured, table_iii),
        "The paper's convention": lambda: CONVENTION + tables.conventions(table_iii),
        f"Table III in the paper's convention (R_p = {USUAL:.0%})": lambda: tables.beside(measured, table_iii),
        "The same points with poison as the positive class": lambda: tables.in_ours(measured),
        "Figures 5 to 7: against the poisoning rate": lambda: _along_rate(measured),
        "Figure 8: components": lambda: tables.components(measured),
        "Figure 10: few trusted rows": lambda: _few(measured[measured["spoiled"] == 0], "trusted"),
        "Figure 11: poison among the trusted rows": lambda: SPOILED + _few(_with_spoiled(measured), "spoiled"),
        "What the paper says of its figures": lambda: CLAIMS + claims(measured),
        "Tables IV and V: time": lambda: (
            TIME
            + tables.times(measured, published("times"))
            + "\n"
            + tables.fits(measured)
            + "\n"
            + tables.whole(measured)
        ),
        "How it was run": lambda: HOW + _absent(rows) + _marks(measured),
    }
    if measured.empty:
        return f"{HEAD}\nNothing has been measured yet.\n"
    return HEAD + "".join(f"\n## {title}\n\n{made()}" for title, made in sections.items())


def _along_rate(rows: pd.DataFrame) -> str:
    own = rows[(rows["trusted"] == USUAL) & (rows["spoiled"] == 0) & ~rows["method"].isin(COMPONENTS)]
    own = own[own.groupby(["dataset", "attack"])["r_p"].transform("nunique") > 1]
    return "\n".join(f"{title}:\n\n{tables.across(own, column, 'r_p')}" for title, column in ALONG_RATE.items())


def _few(rows: pd.DataFrame, axis: str) -> str:
    own = rows[(rows["r_p"] == USUAL) & rows["dataset"].isin(TABLES)]
    return "\n".join(f"{title}:\n\n{tables.across(own, column, axis, MAIN)}" for title, column in FEW.items())


def _with_spoiled(rows: pd.DataFrame) -> pd.DataFrame:
    """The usual trusted share at every share of poison within, of the seeds that have all of them."""
    usual = rows[(rows["trusted"] == USUAL) & (rows["attack"] != "R-statistical")]
    return usual[usual["seed"].isin(usual.loc[usual["spoiled"] > 0, "seed"])]


def _absent(rows: pd.DataFrame) -> str:
    absent = rows[rows["absent"].notna()]
    if absent.empty:
        return ""
    points = absent.groupby(["dataset", "trusted", "method", "absent"]).size().reset_index()
    told = [f"{r.method} at {r.trusted:.1%} of {r.dataset}: {r.absent}" for r in points.itertuples()]
    return "Refused, and left out of the means: " + "; ".join(told) + ".\n\n"


def _marks(rows: pd.DataFrame) -> str:
    code = sorted(rows["code"].astype(str).unique())
    mixed = "" if len(code) == 1 else " Rows of different code are mixed here: run again without `--keep-stale`."
    sizes = ", ".join(f"{name} {size:,}" for name, size in SIZES.items() if (rows["dataset"] == name).any())
    left = [
        f"{name} ({len(PARTS[part])} jobs, `--only {part}`)"
        for name, part in IMAGES
        if not (rows["dataset"] == name).any()
    ]
    out = f" Not run for this page: {', '.join(left)}; a fit takes minutes." if left else ""
    return f"Clean rows of a lot: {sizes}.{out} Code: {', '.join(code)}.{mixed}\n"


HEAD = """\
# De-Pois: the paper's tables beside ours

Chen, Zhang, Zhang, Wang, Liu, *De-Pois: An Attack-Agnostic Defense against Data Poisoning Attacks*, IEEE TIFS 16
(2021). Made by `python -m benchmarks.de_pois` (`make bench-de-pois`) from `benchmarks/de_pois/results.csv` and the
paper's own figures in `benchmarks/de_pois/published/`; do not edit by hand.

*De-Pois, paper* is our code with the paper's objective (9), raw outputs, y at the first layer and boundary (10) at
z_s = −1.96. *De-Pois, default* is what Lotgate ships: wrong pairs shown to the critic, outputs standardised at their y,
a boundary calibrated on held-out trusted rows.
"""
CONVENTION = """\
The paper measures accuracy, recall, F1 and does not say which class is positive. Its figures do: accuracy, recall and
F1 of one cell fix the share of the positive class. Where clean rows are positive, at R_p = |S_p|/|S_c| = 20%, that
share is 1/1.2 = .833, and a method that *flags nothing* has accuracy .833, recall 1 and F1 .909. So these figures say
little about poison; the implied rates are worked out from accuracy and recall under that reading, at the 20% column.
A value outside [0, 1] contradicts it: that row was counted in another way, on another mixture, or both. The median
over the six trusted shares stands in the third column. (Equation 11 has the 2 of F1 in the denominator, which cannot
be what was computed: F1 would never exceed .25.)

"""
SPOILED = """\
The share of the trusted rows that carry the same attack. LF and R only: TCL on CIFAR-10, which the paper has beside
them, takes minutes a point here and is near chance to begin with.

"""
CLAIMS = """\
Figures 5 to 8, 10 and 11 are drawn without numbers; these are the ones their text gives, against *De-Pois, paper* in
the paper's convention, means over seeds.

"""
TIME = """\
The paper had one GTX 1060; we have one thread of a CPU and count its CPU seconds, per as many rows as the paper. Only
the ratio to the peers, on the same machine, is comparable at all. The second table is whole fits, the third a whole
lot, training included: training does not grow with the lot (it stops when converged, or at a limit of steps).

"""
HOW = """\
Trusted rows are drawn beside the lot, as a share of its clean rows, and are not judged. R_p is the paper's
|S_p|/|S_c|, so that R_p/(1 + R_p) of a lot is planted. TCL adds images of the attacked class, moved, to the lot; the
other attacks take the place of rows. A fit of De-Pois does not look at the lot, so that one fit judges every attack
and rate of its trusted set. TCL is feature collision (`feature_collision`) and, at one rate, the convex polytope of
the paper's own reference (`TCL-polytope`), 8 against 6 on MNIST, ship against frog on CIFAR-10; LF is
`label_flip_margin`; R is `regression_optimised` and, beside it, `regression_statistical`, both against the paper's
figures for R; pGAN has α = .5. DUTI, Sever and TRIM are told the true number of planted rows; on fourclass DUTI and
Sever fit 0/1 responses on a kernel map. Images are subsets of the paper's sets, with 200 trusted images where the
paper had 10,000: what fails here on images may be for want of data and training, and is no proof against the paper.
Figures 4, 9, 12 and 13 and Table II are not repeated.

"""
