"""De-Pois: does a critic that was trained on trusted rows and their likes believe in this sample and its label?"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field

from lotgate.data import Dataset, Modality, Task
from lotgate.detector import Detector, Evidence, Need
from lotgate.detectors._de_pois.augment import Augmentation, Conditioner
from lotgate.detectors._de_pois.checkpoint import Checkpoint
from lotgate.detectors._de_pois.mimic import Mimicry
from lotgate.detectors._de_pois.networks import (
    Conditioning,
    Discriminator,
    MimicCritic,
    SampleGenerator,
    mimic_generator,
)
from lotgate.detectors._de_pois.scaling import Pool, Scaling, learn_scaling, value_range
from lotgate.detectors._de_pois.scorer import Boundary, MimicScorer, make_scorer
from lotgate.detectors._de_pois.training import Rule, settle
from lotgate.errors import InputError
from lotgate.probe import pick_device, seeded

LEAST_TRUSTED = 2


@dataclass(frozen=True, eq=False)
class Run:
    """What both trainings of one fit share: the source of randomness, where state is kept, where to compute."""

    generator: torch.Generator
    keeper: Checkpoint | None
    device: str


class DePois(Detector):
    """A mimic model, trained on trusted rows and synthetic ones like them, gives each sample and label a credit.

    Catches:
        Samples unlike trusted ones of their label: visible triggers on a wrong label, junk, flipped labels, pulled
        targets.
    Misses:
        With the paper's own objective (`mismatched_rate` = 0): wrong labels and targets in small tables, near chance
        on breast cancer and diabetes (measured).
        Pulled targets in small tables, often: AUROC .9 on diabetes, but by the luck of the seed on smaller ones.
        Clean-label poison and triggers that are small against the natural variety of a class; poison crafted against
        a copy of the critic. A table row far outside the trusted range: a critic is nearly linear out there and may
        find it *more* real than any trusted row; `two_sided` = True flags both ends. Photographs of many kinds: a
        critic of this size knows them poorly.
    Assumes:
        Trusted rows are clean, drawn like the clean part of the lot, and some for every label. Held-out rows beside
        them; with fewer than about 100 of those no p-value gets below 1 / (n + 1), and hardly anything is flagged.
    Method:
        S_t are the trusted rows (x, y), z ~ N(0, I) (B, 100), y one-hot (B, K) or the standardised target (B, 1).
        1. cGAN, L_A the authenticator's loss: D_c and the authenticator lower −V + L_A with
           V = E log D_c(x|y) + E log(1 − D_c(G_c(z|y)))  (2); G_c lowers −E log D_c(G_c(z|y)) + L_A.
           L_A: cross-entropy (3) or mean squared error (4). In regression G_c is given y + z_r, z_r Gaussian.
        2. S_aug = S_t ∪ S_s', S_s' ~ G_c until |S_aug| = |S_o|.
        3. cWGAN-GP on S_aug, `critic_steps` updates of D_w per update of G_w:
           E D_w(x̃|y) − E D_w(x|y) + λ E(‖∇D_w(x̂|y)‖₂ − 1)²  (9), x̃ = G_w(z|y), x̂ between x and x̃.
        4. y_pre = D_w(x|y) (B,), less its mean at y over S_aug, by its deviation there. Score −y_pre.
           Flagged beyond the 99% quantile of held-out trusted rows, or with `boundary` = "paper" where
           y_pre < y_thr = z_s·σ + μ over S_aug  (10).
        Both trainings stop when converged: the weights of G_c (section IV-A: ‖θ_{i+1} − θ_i‖ small), the Wasserstein
        estimate of the mimic; a mean over `window` steps moves by less than the tolerance, twice running. There is a
        limit of steps, and the log says when it was hit.
    Cost:
        Training, not the size of the lot: `mimic_steps` × `critic_steps` × `batch_size` rows with a second derivative
        dominate. Memory: S_aug at half precision, `max_synthetic` rows at most.
    Source:
        Chen, Zhang, Zhang, Wang, Liu: De-Pois: An Attack-Agnostic Defense against Data Poisoning Attacks, IEEE TIFS
        16 (2021), sections IV and VI-A4, equations 2–4 and 8–10.
    Differs:
        - The paper gives G_c the loss L_cGAN − L_A, which read literally rewards samples that do not carry their
          label. We take the meaning of AC-GAN (Odena et al. 2017), where the term subtracted is a *loss*, not a
          likelihood: discriminator and generator both lower L_A.
        - The authenticator shares its stem with D_c, or L_A could not reach D_c at all; it learns from trusted rows
          too, or it and G_c could agree on labels that mean nothing. The paper says neither.
        - Regression's LASSO reads the features and the stem's outputs side by side, for the same reason.
        - G_c lowers −log D instead of log(1 − D) (Goodfellow et al. 2014): gradients survive a strong D_c.
        - Adam with a falling rate for the cGAN (none is stated; ‖θ_{i+1} − θ_i‖ does not vanish at a constant one).
        - Networks are narrower than in the released code, and D_c has a convolutional stem for images.
        - Images are averaged down to at most `image_size` pixels a side. A table's sigmoid spans the trusted range
          of each standardised feature.
        - y enters D_w by projection (Miyato & Koyama 2018); "concat" is plainer, measured worse on classes
          and alike on a regression.
        - Outputs are standardised at their y, since (9) leaves any function of y alone undetermined
          (`standardise` = False: the paper's raw outputs).
        - The calibrated quantile is the default beside (10): on digits (10) flagged nearly half of the clean rows: its
          outputs on S_aug, which it was trained on and which is mostly synthetic, do not stand for new clean rows.
        - `mismatched_rate` of the generated rows of each critic batch are real rows under another row's y (Reed et
          al. 2016): (9) alone never shows the critic a true sample with a wrong label, and measured near chance on
          tables. 0 is the paper's objective.
        - `two_sided` is an option, off (see Misses).

    Attributes:
        boundary, z_s, two_sided, standardise, conditioning, mismatched_rate: see Method and Differs.
        image_size: longest side in pixels. target_noise: deviation of z_r in deviations of the target.
        max_synthetic: most rows to synthesise, whatever the size of the lot.
        augment_batch, augment_steps, augment_tolerance: of the cGAN: rows, limit of steps, relative change.
        batch_size, critic_steps, gradient_penalty (λ), learning_rate (RMSprop): of the mimic.
        mimic_steps, mimic_tolerance: limit of generator steps, relative change.
        window: steps per mean in either training; a checkpoint is written after each.
        device: "auto" takes a GPU where there is one.
        checkpoint: folder where both trainings keep their state, resumed only for the same parameters, evidence and
            seed. Not part of the detector's identity.
    """

    name: ClassVar[str] = "de_pois"
    modalities: ClassVar[frozenset[Modality]] = frozenset({"image", "table"})
    tasks: ClassVar[frozenset[Task]] = frozenset({"classification", "regression"})
    needs: ClassVar[frozenset[Need]] = frozenset({"trusted"})
    reason: ClassVar[str] = "a model of the trusted samples does not believe that this sample carries this label"

    boundary: Boundary = "calibrated"
    z_s: Annotated[float, Field(ge=-10, lt=0)] = -1.96
    two_sided: bool = False
    standardise: bool = True
    conditioning: Conditioning = "projection"
    mismatched_rate: Annotated[float, Field(ge=0, le=1)] = 0.5
    image_size: Annotated[int, Field(ge=4, le=128)] = 32
    target_noise: Annotated[float, Field(ge=0, le=10)] = 0.1
    max_synthetic: Annotated[int, Field(ge=0, le=1_000_000)] = 20_000
    augment_batch: Annotated[int, Field(ge=2, le=4096)] = 128
    augment_steps: Annotated[int, Field(ge=1, le=1_000_000)] = 400
    augment_tolerance: Annotated[float, Field(gt=0, lt=1)] = 0.03
    batch_size: Annotated[int, Field(ge=2, le=4096)] = 32
    critic_steps: Annotated[int, Field(ge=1, le=100)] = 5
    gradient_penalty: Annotated[float, Field(ge=0, le=1000)] = 10.0
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 5e-5
    mimic_steps: Annotated[int, Field(ge=1, le=1_000_000)] = 500
    mimic_tolerance: Annotated[float, Field(gt=0, lt=1)] = 0.02
    window: Annotated[int, Field(ge=1, le=10_000)] = 50
    device: Literal["auto", "cpu", "cuda"] = "auto"
    checkpoint: Path | None = Field(default=None, exclude=True)

    def fit(self, evidence: Evidence, rng: np.random.Generator) -> MimicScorer:
        """Synthesises S_aug from trusted rows, trains the mimic on it, calibrates it on held-out rows.

        Raises:
            InputError: no or too few trusted or held-out rows.
            OutputError: the checkpoint folder cannot be written.
        """
        trusted, heldout = self._vetted(evidence)
        device = pick_device(self.device)
        scaling = learn_scaling(trusted, self.image_size)
        pool = scaling.pool(trusted)
        with seeded(rng) as generator:
            run = Run(generator, self._keeper(evidence, generator), device)
            augmented = self._augment(scaling, pool, len(evidence.suspect), run)
            critic = self.mimic(scaling, augmented, pool, run)
        return make_scorer(
            critic, scaling, augmented, scaling.pool(heldout),
            standardise=self.standardise, boundary=self.boundary, two_sided=self.two_sided, z_s=self.z_s,
            device=device,
        )  # fmt: skip

    def _vetted(self, evidence: Evidence) -> tuple[Dataset, Dataset]:
        self.require(evidence)
        trusted, heldout = evidence.trusted, evidence.heldout
        for vetted, least in ((trusted, LEAST_TRUSTED), (heldout, 1)):
            if vetted is None or len(vetted) < least:
                raise InputError(
                    f"{self.name} needs at least {LEAST_TRUSTED} trusted rows to learn from and 1 held-out row",
                    where="evidence",
                    action="give a larger trusted set: 100 rows or more, and some of every class",
                )
        assert trusted is not None and heldout is not None
        return trusted, heldout

    def _keeper(self, evidence: Evidence, generator: torch.Generator) -> Checkpoint | None:
        if self.checkpoint is None:
            return None
        parts = (evidence.suspect, evidence.trusted, evidence.heldout)
        job = {
            "detector": self.model_dump(mode="json"),
            "evidence": [None if part is None else part.fingerprint for part in parts],
            "seed": generator.initial_seed(),
        }
        return Checkpoint(self.checkpoint, hashlib.sha256(json.dumps(job, sort_keys=True).encode()).hexdigest())

    def _augment(
        self,
        scaling: Scaling,
        pool: Pool,
        wanted: int,
        run: Run,
    ) -> Pool:
        """S_aug: the trusted rows, and synthetic ones until there are `wanted`."""
        missing = min(wanted - len(pool), self.max_synthetic)
        if missing <= 0:
            return pool
        regression = not scaling.classes
        stage = Augmentation(
            SampleGenerator(scaling.shape, scaling.width, *value_range(pool)),
            Discriminator(scaling.shape, scaling.width, regression, run.generator),
            pool,
            Conditioner(pool.condition, self.target_noise if regression else 0.0),
            self.augment_batch,
            run.generator,
            run.device,
        )
        settle(stage, Rule(self.window, self.augment_tolerance, self.augment_steps), run.keeper)
        return pool + stage.sample(missing)

    def mimic(
        self,
        scaling: Scaling,
        augmented: Pool,
        pool: Pool,
        run: Run,
    ) -> MimicCritic:
        """D_w, trained on S_aug; `pool`: trusted rows, whose range its generator keeps to."""
        stage = Mimicry(
            MimicCritic(scaling.shape, scaling.width, self.conditioning),
            mimic_generator(scaling.shape, scaling.width, *value_range(pool)),
            augmented,
            Conditioner(augmented.condition, 0.0),
            self.batch_size,
            self.critic_steps,
            self.gradient_penalty,
            self.learning_rate,
            self.mismatched_rate,
            run.generator,
            run.device,
        )
        settle(stage, Rule(self.window, self.mimic_tolerance, self.mimic_steps), run.keeper)
        return stage.critic.eval().requires_grad_(False)
