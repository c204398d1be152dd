"""The trusted set: its two parts, whether its labels can be trusted, for people who vet slip, and attackers try, and
which classes it tells too little of.

Trusted rows say how far models are wrong about clean rows. Where a twentieth of them carries wrong labels, that much
wrong labelling of a lot looks usual, however plainly models see it. Yet models that err now and then are seldom sure of
it: wrong labels show as contradictions that are too loud for the models' own doubts, however these are scaled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit

from lotgate.crossfit import CrossFit, log_softmax
from lotgate.data import Dataset
from lotgate.detector import Evidence
from lotgate.files import write_text
from lotgate.findings import Check
from lotgate.probe import PASS_BATCH

DOUBT = Path("work/crossfit/doubt.json")
BEYOND_DOUBT = 5.0  # nats that wrong labels must gain over the best scale of the models' own doubts
PER_LABEL = 0.2  # nats that each of them must gain: models that err often, however sure, gain a little from many
UNKNOWN = 0.25  # doubted share of a class, above which models may know too little of the class to doubt its labels
OFTENER = 2.0  # that share beside that of all classes: wrong labels come to all, a hard class is one
SURELY = 0.9  # probability from which on a label is surely wrong, and 1 less it surely right
TOLD_APART = 0.5  # of the labels that are neither, those that are surely wrong, at least: or labels are noise anyway
NAMED = 5  # samples, or classes, that a sentence can hold
STARTS = (-0.7, 0.0, 0.7)  # of log T
CARRY = "share something that alone speaks for their labels, as a backdoor's trigger does"
Vector = npt.NDArray[np.float64]
Classes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Doubt:
    """Trusted rows whose labels are probably wrong, or that probably carry a trigger.

    Attributes:
        share: of wrong labels among trusted rows, as estimated. gain: log-likelihood, in nats, that they add.
        ids: the samples that are more probably wrong than right; empty unless wrong labels explain them, see
            `explained`.
        n: trusted rows that were asked about.
        carriers: the samples whose labels only their companions teach, see lotgate.carriers.
    """

    share: float = 0.0
    gain: float = 0.0
    ids: tuple[str, ...] = ()
    n: int = 0
    carriers: tuple[str, ...] = ()


NO_DOUBT = Doubt()


def split_trusted(trusted: Dataset, heldout_rate: float, rng: np.random.Generator) -> tuple[Dataset, Dataset]:
    """Reference and held-out rows, drawn within each class so that both know every class of two rows or more; a single
    row is for reference. Targets are one class.
    """
    y = trusted.y if trusted.task == "classification" else np.zeros(len(trusted), np.int64)
    order = rng.permutation(len(trusted))
    heldout: list[str] = []
    for c in np.unique(y):
        mine = order[y[order] == c]
        n_held = min(len(mine) - 1, max(1, round(len(mine) * heldout_rate)))
        heldout.extend(trusted.ids[mine[:n_held]])
    held = set(heldout)
    return trusted.select([i for i in trusted.ids if i not in held]), trusted.select(heldout)


def doubt_labels(crossfit: CrossFit, vetted: Sequence[Dataset]) -> Doubt:
    """What models that never saw them make of the trusted rows' labels.

    Args:
        vetted: trusted rows, in as many parts as there are; ≥ 1 row in some part.
    """
    if len(vetted[0].classes) < 2:
        return NO_DOUBT
    batches = [batch for d in vetted for batch in d.batches(PASS_BATCH)]
    log_p = np.concatenate([crossfit.vouched_for(b) for b in batches])
    y, ids = np.concatenate([b.y for b in batches]), np.concatenate([b.ids for b in batches])
    share, gain, wrong = wrong_labels(log_p, y)
    doubted = spared(wrong > 0.5, y) if explained(wrong, gain) else np.zeros(len(y), bool)
    return Doubt(share, gain, tuple(sorted(map(str, ids[doubted]))), len(y))


def wrong_labels(log_p: Vector, y: Classes) -> tuple[float, float, Vector]:
    """Share ε of wrong labels, the log-likelihood it gains over ε = 0, and each row's probability (n,) to be wrong.

    The true class has p = softmax(log p / T); with probability ε another label is given, each as likely. T and ε are
    fitted by maximum likelihood, with log T ~ N(0, 1): models may be too sure or not sure enough of everything, which
    a scale mends, but not of a few rows beyond measure (noise model: Natarajan, Dhillon, Ravikumar, Tewari 2013; scale:
    Guo, Pleiss, Sun, Weinberger 2017).

    Args:
        log_p: (n, K ≥ 2) log-probabilities by models that have not seen the rows. y: (n,) labels.
    """
    others, rows = log_p.shape[1] - 1, np.arange(len(y))

    def right(log_scale: float) -> Vector:
        return np.asarray(np.exp(log_softmax(log_p / np.exp(log_scale))[rows, y]))

    def loss(log_scale: float, share: float) -> float:
        p = right(log_scale)
        likelihood = (1 - share) * p + share * (1 - p) / others
        return float(-np.log(np.maximum(likelihood, 1e-300)).sum() + log_scale**2 / 2)

    plain = min(minimize(lambda t: loss(t[0], 0.0), [s], method="Nelder-Mead").fun for s in STARTS)
    fits = [minimize(lambda t: loss(t[0], expit(t[1])), [s, -3.0], method="Nelder-Mead") for s in STARTS]
    best = min(fits, key=lambda fit: float(fit.fun))
    share, p = float(expit(best.x[1])), right(best.x[0])
    wrong = share * (1 - p) / others
    return share, max(0.0, float(plain - best.fun)), np.asarray(wrong / np.maximum((1 - share) * p + wrong, 1e-300))


def explained(wrong: Vector, gain: float) -> bool:
    """Whether wrong labels are what contradicts models: they gain enough, all together and each, and stand out.

    Args:
        wrong: (n,) probability of each row to be wrong. gain: see `Doubt`.
    """
    return gain > max(BEYOND_DOUBT, PER_LABEL * int((wrong > 0.5).sum())) and told_apart(wrong)


def told_apart(wrong: Vector) -> bool:
    """Whether wrong labels stand out among right ones. Where labels are partly chance, as what a customer buys, most of
    the doubtful are neither; without the most contradicted of them, the lot's would look like no trusted row.

    Args:
        wrong: (n,) probability of each row to be wrong.
    """
    undecided = (wrong > 1 - SURELY) & (wrong < SURELY)
    return bool((wrong >= SURELY).sum() >= TOLD_APART * undecided.sum())


def spared(doubted: npt.NDArray[np.bool_], y: Classes) -> npt.NDArray[np.bool_]:
    """(n,) the doubted rows without those of classes that models do not know, as a rare one may be: of which more than
    UNKNOWN are doubted, and more than OFTENER as many as of all rows. All are spared where most are doubted: it is then
    the models that know nothing.
    """
    if 2 * int(doubted.sum()) > len(y):
        return np.zeros(len(y), bool)
    share = np.bincount(y[doubted], minlength=y.max() + 1) / np.maximum(np.bincount(y), 1)
    unknown = (share > UNKNOWN) & (share > OFTENER * doubted.mean())
    return np.asarray(doubted & ~unknown[y])


def without_doubted(evidence: Evidence, doubt: Doubt) -> Evidence:
    """The evidence without the trusted samples that are doubted."""
    doubted = {*doubt.ids, *doubt.carriers}

    def others(vetted: Dataset | None) -> Dataset | None:
        return vetted.select([i for i in vetted.ids if i not in doubted]) if vetted is not None and doubted else vetted

    return replace(evidence, trusted=others(evidence.trusted), heldout=others(evidence.heldout))


def save_doubt(doubt: Doubt, run: Path) -> Path:
    """Writes it into the run's folder."""
    return write_text(run / DOUBT, json.dumps(asdict(doubt)))


def load_doubt(run: Path) -> Doubt:
    """What was found in this run; no doubt where nobody asked."""
    file = run / DOUBT
    if not file.exists():
        return NO_DOUBT
    found = json.loads(file.read_text(encoding="utf-8"))
    return Doubt(**{**found, **{name: tuple(found[name]) for name in ("ids", "carriers") if name in found}})


def doubt_check(doubt: Doubt) -> Check:
    """Whether models confirm the labels of the trusted set. Not critical: the lot is not to blame."""
    said = {"probably mislabelled": doubt.ids, "probably carry a trigger": doubt.carriers}
    return Check(
        name="evidence: trusted labels that models contradict", passed=not any(said.values()),
        observed=len(doubt.ids) + len(doubt.carriers), limit=0, critical=False, detail=_listed(said),
    )  # fmt: skip


def doubt_words(doubt: Doubt) -> tuple[str, ...]:
    """What it means for the decision, a sentence for either kind of doubt; none where nothing is doubted."""
    wrong, carriers, n = len(doubt.ids), len(doubt.carriers), doubt.n + len(doubt.carriers)
    return *_look_again(wrong, n, "are probably mislabelled"), *_look_again(carriers, n, CARRY)


def _look_again(some: int, n: int, why: str) -> tuple[str, ...]:
    if not some:
        return ()
    return (
        f"{some} of {n} trusted samples {why}, so the lot was not measured by them: look at them again (all are named "
        f"in {DOUBT}), mend the trusted set and screen again.",
    )


def load_unjudged(run: Path, voters: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """By voter, the classes that it could not judge in this run; see lotgate.detector.Judgement."""
    return _said(run, voters, "unjudged")


def load_notes(run: Path, voters: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """By voter, what its groups share, in words."""
    return _said(run, voters, "notes")


def _said(run: Path, voters: Sequence[str], what: str) -> dict[str, tuple[str, ...]]:
    said = {name: run / f"work/findings/{name}.json" for name in voters}
    return {
        name: tuple(json.loads(file.read_text(encoding="utf-8")).get(what, ()))
        for name, file in said.items()
        if file.exists()
    }


def unjudged_check(unjudged: Mapping[str, Sequence[str]]) -> Check:
    """Whether detectors could judge the samples of every class. Not critical: it says nothing against them."""
    return Check(
        name="evidence: classes that could not be judged", passed=not any(unjudged.values()),
        observed=len({c for classes in unjudged.values() for c in classes}), limit=0, critical=False,
        detail=_listed(_quoted(unjudged)),
    )  # fmt: skip


def unjudged_words(unjudged: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """What it means for the decision, as one sentence; none where every class could be judged."""
    if not any(unjudged.values()):
        return ()
    return (
        f"Some detectors say nothing of single samples of some classes, since many look odd to them and trusted ones "
        f"do too, or are too few to tell ({_listed(_quoted(unjudged))}): vet more samples of these classes, add them "
        f"to the trusted set and screen again.",
    )


def note_words(notes: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """What groups of samples share, as one sentence; none where no voter can name it."""
    return (f"What samples share, and trusted ones do not ({_listed(notes)}).",) if any(notes.values()) else ()


def _quoted(classes: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Names of classes as such: one that is called 1 is no count."""
    return {voter: [f"'{name}'" for name in names] for voter, names in classes.items()}


def _listed(said: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{name}: {_some(names)}" for name, names in said.items() if names)


def _some(names: Sequence[str]) -> str:
    """As many as a sentence can hold."""
    return ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")
