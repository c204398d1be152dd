"""What is measured: the jobs of each part, few points and few seeds: forty minutes of one core for all of it."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.de_pois.variants import VARIANTS

MAIN = ("paper", "default")
COMPONENTS = tuple(name for name in VARIANTS if name not in MAIN)
RATES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
USUAL = 0.2  # R_p and |S_t| / |S_o| wherever the paper varies something else
ATTACKS = {
    "fourclass": ("LF",),
    "house_prices": ("R", "R-statistical"),
    "mnist_t10k": ("TCL", "TCL-polytope", "pGAN"),
    "cifar10": ("TCL", "pGAN"),
}
TABLES = ("fourclass", "house_prices")


@dataclass(frozen=True)
class Job:
    """One trusted set: De-Pois is fitted to it once per variant, and judges every lot.

    Its critic never sees the lot, only how many rows that has, so that one fit serves every attack and rate.

    Attributes:
        rates: R_p = |S_p| / |S_c|. trusted: |S_t| as a share of the clean lot. spoiled: share of S_t that is poison.
        peers: whether the other defences are asked too.
    """

    dataset: str
    seed: int
    rates: tuple[float, ...] = (USUAL,)
    trusted: float = USUAL
    spoiled: float = 0.0
    variants: tuple[str, ...] = MAIN
    peers: bool = False

    @property
    def attacks(self) -> tuple[str, ...]:
        return ATTACKS[self.dataset]

    def lots(self) -> list[tuple[str, float]]:
        """(attack, R_p) of every lot; the slowest attack has one rate."""
        return [(a, r) for a in self.attacks for r in self.rates if a != "TCL-polytope" or r == USUAL]

    @property
    def name(self) -> str:
        """Unique; rows are kept under it."""
        spoiled = f"-spoiled{self.spoiled:g}" if self.spoiled else ""
        parts = "-components" if self.variants == COMPONENTS else ""
        return f"{self.dataset}-t{self.trusted:g}{spoiled}{parts}-s{self.seed}"


def _usual(datasets: tuple[str, ...]) -> list[Job]:
    """R_p varies at |S_t| = 20%: Figures 5 to 7, Tables IV and V, the middle column of Table III."""
    rates = {"mnist_t10k": (0.1, 0.2), "cifar10": (USUAL,)}
    seeds = (20, 21, 22) if datasets == TABLES else (20, 21)
    return [Job(name, seed, rates.get(name, RATES), peers=True) for name in datasets for seed in seeds]


def _shares(datasets: tuple[str, ...], shares: tuple[float, ...], peers: bool) -> list[Job]:
    return [Job(name, seed, trusted=share, peers=peers) for name in datasets for share in shares for seed in (20, 21)]


PARTS: dict[str, list[Job]] = {
    "figures_5_7": _usual(TABLES),
    "table_iii": [*_usual(TABLES), *_shares(TABLES, (0.05, 0.1, 0.3), peers=True)],
    "figure_8": [Job(name, seed, variants=COMPONENTS) for name in TABLES for seed in (20, 21)],
    "figure_10": _shares(TABLES, (0.005, 0.02), peers=False),
    "figure_11": [Job(name, seed, spoiled=share) for name in TABLES for share in (0.01, 0.1, 0.2) for seed in (20, 21)],
    "mnist": _usual(("mnist_t10k",)),
    "cifar10": _usual(("cifar10",)),
}


def jobs(only: str = "") -> list[Job]:
    """Every job of the part, or of all of them; each once."""
    chosen = [only] if only else list(PARTS)
    return list(dict.fromkeys(job for part in chosen for job in PARTS[part]))
