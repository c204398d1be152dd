"""Promises that every single sample keeps, or is quarantined for before any model sees it.

Content is what a sample shows: the pixels of an image, whatever file they came in, or the values of a row. The same
image twice is a fault of the delivery. The same table row twice is not: coarse telemetry repeats itself, and its label
may differ each time. So for tables the trusted set says what is natural: copies count only beyond what its own share of
them explains, and one content under two labels counts only if no trusted content carries two labels and columns are
too fine for so many rows to show the same by chance.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import binom

from lotgate.contract.coarse import chance_of_same, explained_by_chance
from lotgate.contract.columns import NATURAL_RATE, Column, Mask, readable
from lotgate.contract.idle import IdleColumn
from lotgate.contract.ranges import out_of_range
from lotgate.contract.settings import ContractSettings
from lotgate.contract.words import Words, joined, no_words
from lotgate.data import Dataset

#: Columns of `Contract.rows`; True: the promise is broken for this sample.
FLAGS = (
    "unreadable",
    "unknown_label",
    "unseen_format",
    "out_of_range",
    "unseen_value",
    "duplicate",
    "conflict",
    "trusted_conflict",
)
NONE_READ = "; none of its trusted samples can be read"
#: Probability, over all contents of a table, that mere repetition is called copying.
COPYING_RISK = 1e-6


def row_reasons(
    suspect: Dataset,
    trusted: Dataset | None,
    columns: Sequence[Column],
    idle: Sequence[IdleColumn],
    settings: ContractSettings,
) -> pd.DataFrame:
    """(N, FLAGS) why each promise is broken, in words; "" where it holds or there is nothing to compare with."""
    read = readable(suspect)
    known = known_labels(suspect, trusted)
    comparable = read & known
    contents = _contents(suspect, comparable)
    vetted = None if trusted is None else _contents(trusted, readable(trusted) & known_labels(trusted, None))
    tolerance = _label_tolerance(suspect, contents if vetted is None else vetted, settings)
    nothing = no_words(len(suspect))
    features = columns if suspect.task == "classification" else columns[:-1]  # the last is the target
    conflict, trusted_conflict = _conflicts(suspect, contents, vetted, tolerance, features)
    by_flag = {
        "unreadable": _unreadable(suspect, read),
        "unknown_label": _unknown_label(suspect, trusted, known),
        "unseen_format": nothing if trusted is None else _unseen_format(suspect, trusted, read),
        "out_of_range": out_of_range(len(suspect), columns, settings.value_range_tolerance),
        "unseen_value": _unseen_value(len(suspect), idle),
        "duplicate": _duplicate(suspect, contents, vetted),
        "conflict": conflict,
        "trusted_conflict": trusted_conflict,
    }
    return pd.DataFrame(by_flag, columns=list(FLAGS), dtype=object)


def known_labels(dataset: Dataset, trusted: Dataset | None) -> Mask:
    """(N,) whether each sample has a label: a finite target, or a class that the trusted set shows."""
    label = dataset.manifest["label"]
    if dataset.task == "regression":
        return np.asarray(np.isfinite(label.to_numpy(dtype=np.float64)))
    if trusted is None:
        return label.notna().to_numpy(dtype=bool)
    return label.isin(shown_classes(trusted)).to_numpy(dtype=bool)


def shown_classes(trusted: Dataset) -> list[str]:
    """The classes of which the trusted set has a sample that can be read: no others can be held against a lot."""
    return sorted(trusted.manifest.loc[readable(trusted), "label"].dropna().unique())


def unread_classes(trusted: Dataset) -> frozenset[str]:
    """The classes that the trusted set names but does not show."""
    return frozenset(trusted.manifest["label"].dropna()) - frozenset(shown_classes(trusted))


def _named(words: Words) -> int:
    return int((words != "").sum())


def _unreadable(suspect: Dataset, read: Mask) -> Words:
    words = suspect.manifest["defect"].fillna("could not be read").to_numpy(dtype=object)
    return np.where(read, "", words)


def _unknown_label(suspect: Dataset, trusted: Dataset | None, known: Mask) -> Words:
    words = no_words(len(suspect))
    unread = frozenset() if trusted is None else unread_classes(trusted)
    for index in np.flatnonzero(~known):
        label = suspect.manifest["label"].iloc[index]
        if suspect.task == "regression":
            words[index] = "the target is missing or not finite"
        elif pd.isna(label):
            words[index] = "the label is missing"
        else:
            words[index] = f"label {label!r} is unknown to the trusted set" + (NONE_READ if label in unread else "")
    return words


def _unseen_format(suspect: Dataset, trusted: Dataset, read: Mask) -> Words:
    """Images of a size, channel count or bit depth that the trusted set never has.

    Where trusted sizes vary so freely that the next one is likely new (Good-Turing: the share of sizes seen once),
    a new size says nothing and is let through.
    """
    words = no_words(len(suspect))
    if suspect.modality == "table":
        return words
    vetted = trusted.manifest[readable(trusted)]
    sizes = vetted.groupby(["width", "height"]).size()
    if (sizes == 1).sum() <= NATURAL_RATE * len(vetted):
        _mark_unseen(words, suspect, vetted, ["width", "height"], read)
    _mark_unseen(words, suspect, vetted, ["channels", "bit_depth"], read)
    return words


def _mark_unseen(words: Words, suspect: Dataset, vetted: pd.DataFrame, keys: list[str], read: Mask) -> None:
    seen = pd.MultiIndex.from_frame(vetted[keys].drop_duplicates())
    unseen = read & ~pd.MultiIndex.from_frame(suspect.manifest[keys]).isin(seen)
    if not unseen.any():
        return
    usual = " or ".join("×".join(str(int(v)) for v in values) for values in seen[:3])
    what = "size" if keys[0] == "width" else "channels × bits"
    for index in np.flatnonzero(unseen):
        ours = "×".join(str(int(suspect.manifest[key].iloc[index])) for key in keys)
        words[index] = joined(words[index], f"{what} {ours} never occurs in the trusted set ({usual})")


def _unseen_value(n: int, idle: Sequence[IdleColumn]) -> Words:
    """Values where every trusted row has the same, or none; values that come again where trusted ones never do."""
    words = no_words(n)
    for column in idle:
        for index, reason in column.reasons():
            words[index] = joined(words[index], reason)
    return words


def _contents(dataset: Dataset, comparable: Mask) -> pd.DataFrame:
    """Content, label and a numeric code of the label of the comparable samples; `at` is the manifest position."""
    frame = dataset.manifest.loc[comparable, ["sample_id", "label", "content_sha256"]]
    return frame.assign(at=np.flatnonzero(comparable))


def _label_tolerance(dataset: Dataset, reference: pd.DataFrame, settings: ContractSettings) -> float | None:
    """How far two targets of one content may lie apart; None for classes, which agree or do not."""
    if dataset.task == "classification":
        return None
    spread = float(np.ptp(reference["label"])) if len(reference) else 0.0
    return settings.regression_conflict_tolerance * spread


def _split(contents: pd.DataFrame, tolerance: float | None) -> pd.Series:
    """Which rows of `contents` share their content with a row of another label."""
    repeated = contents[contents["content_sha256"].duplicated(keep=False)]
    groups = repeated.groupby("content_sha256")["label"]
    if tolerance is None:
        disagree = groups.transform("nunique") > 1
    else:
        disagree = groups.transform("max") - groups.transform("min") > tolerance
    return disagree.astype(bool).reindex(contents.index, fill_value=False)


def _conflicts(
    suspect: Dataset,
    contents: pd.DataFrame,
    vetted: pd.DataFrame | None,
    tolerance: float | None,
    features: Sequence[Column],
) -> tuple[Words, Words]:
    """One content under two labels, within the lot and between it and the trusted set, where chance does not explain
    that so many rows of a table show the same.
    """
    n, nothing = len(contents), no_words(len(suspect))
    within = _conflict(len(suspect), contents, tolerance)
    across = nothing if vetted is None else _trusted_conflict(len(suspect), contents, vetted, tolerance)
    if suspect.modality != "table" or vetted is None or not (any(within) or any(across)):
        return within, across
    chance = 1.0 if _split(vetted, tolerance).any() else chance_of_same(features)
    return (
        nothing if explained_by_chance(_named(within) // 2, n * (n - 1) / 2, chance) else within,
        nothing if explained_by_chance(_named(across), n * len(vetted), chance) else across,
    )


def _conflict(n: int, contents: pd.DataFrame, tolerance: float | None) -> Words:
    words = no_words(n)
    for _, group in contents[_split(contents, tolerance)].groupby("content_sha256"):
        members = group.drop_duplicates("label")[["sample_id", "label"]].head(3)
        named = ", ".join(f"{i} as {label!r}" for i, label in members.itertuples(index=False))
        words[group["at"].to_numpy()] = f"the same content carries different labels: {named}"
    return words


def _trusted_conflict(n: int, contents: pd.DataFrame, vetted: pd.DataFrame, tolerance: float | None) -> Words:
    words = no_words(n)
    shared = contents.merge(vetted, on="content_sha256", suffixes=("", "_trusted"))
    if tolerance is None:
        agree = shared["label"] == shared["label_trusted"]
    else:
        agree = (shared["label"] - shared["label_trusted"]).abs() <= tolerance
    agreeing = set(shared.loc[agree, "at"])
    found = shared[~agree].drop_duplicates("at")[["at", "label_trusted", "sample_id_trusted"]]
    for at, label, twin in found.to_numpy(dtype=object):
        if at not in agreeing:
            words[at] = f"the trusted set has this content as {label!r} ({twin})"
    return words


def _duplicate(suspect: Dataset, contents: pd.DataFrame, vetted: pd.DataFrame | None) -> Words:
    """Further copies of one content under one label; the first stays."""
    words = no_words(len(suspect))
    keys = ["content_sha256", "label"]
    copies = contents[contents.duplicated(keys)]
    if suspect.modality == "table":
        copies = copies[copies["content_sha256"].isin(_copied(contents, vetted))]
    firsts = copies.merge(contents.drop_duplicates(keys), on=keys, suffixes=("", "_first"))
    for at, first in firsts[["at", "sample_id_first"]].to_numpy(dtype=object):
        words[at] = f"exact copy of {first}"
    return words


def _copied(contents: pd.DataFrame, vetted: pd.DataFrame | None) -> frozenset[str]:
    """Contents of a table that the lot repeats more often than the trusted set's own repetition explains.

    Of k + j occurrences of a content in lot and trusted set together, the lot's number is Binomial(k + j, n / (n + m))
    if both come from one population; far beyond that the rows were copied.
    """
    if vetted is None or contents.empty:
        return frozenset()
    ours = contents["content_sha256"].value_counts()
    theirs = vetted["content_sha256"].value_counts().reindex(ours.index, fill_value=0)
    share = len(contents) / (len(contents) + len(vetted))
    p_values = binom.sf(ours.to_numpy() - 1, (ours + theirs).to_numpy(), share)
    return frozenset(ours.index[p_values * len(ours) < COPYING_RISK])
