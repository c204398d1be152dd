"""Shared detail: groups inside a class whose images have the same small detail, wherever it lies."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from lotgate.apart import StandsApart
from lotgate.data import Pool
from lotgate.pixels import View
from lotgate.vocabulary import loud_words


class SharedDetail(StandsApart):
    """Groups of a class by the small details they have, anywhere in the image: which stand apart, untrusted?

    Catches:
        Backdoors whose trigger is a small patch or mark with edges, at one place or at another place in each image;
        inserted pictures; warps of plain shapes, whose strokes get ends and bends that no other has.
    Misses:
        Smooth or faint triggers (shared_pattern, shared_texture); marks that are different in every image; marks as
        small as the details that clean images have anyway, in lots of a few hundred images; label flips; poison without
        company.
    Assumes:
        Trusted rows of each class are drawn like the clean rows of the lot, by the same camera.
    Method:
        Images, averaged down to at most `side` pixels → all windows of `width` × `width` pixels, each without its
        mean, whitened. The four of each image that stand out most → k-means → `words` words. An image → how near it
        comes to each word, −log(1 + least squared distance of any of its windows): (N, words), whatever the place.
        From there on groups are found and judged as in shared_pattern: principal axes, whitening per class by the
        others, mixtures and independent components, p_size and p_pattern.
    Cost:
        One k-means of 4 windows an image, and one product of all windows with all words: 5 s for 2,000 images of
        32 × 32 pixels in three channels on one core; the rest as shared_pattern.
    Source:
        Own. Groups as in shared_pattern. Words of whitened windows: Coates, Ng, Lee: An Analysis of Single-Layer
        Networks in Unsupervised Feature Learning, AISTATS 2011, section 3, there for recognition.
    Differs:
        From Coates et al.: words come from the windows that stand out most, and the nearest window of an image counts
        instead of a mean over regions.
    """

    name: ClassVar = "shared_detail"
    reason: ClassVar = "it shows a small detail, wherever it lies, that part of its class and no trusted sample shows"

    words: Annotated[int, Field(ge=2, le=4096)] = 256
    width: Annotated[int, Field(ge=2, le=16)] = 3

    def view(self, pool: Pool, rng: np.random.Generator) -> View:
        return loud_words(pool, self.words, self.width, self.side, rng).nearness
