"""Every detector Lotgate ships: one file each, one entry here."""

from lotgate.detector import Detector
from lotgate.detectors.activation_clustering import ActivationClustering
from lotgate.detectors.corroboration import Corroboration
from lotgate.detectors.de_pois import DePois
from lotgate.detectors.disagreement import Disagreement
from lotgate.detectors.excess_confidence import ExcessConfidence
from lotgate.detectors.mixed_origins import MixedOrigins
from lotgate.detectors.shared_detail import SharedDetail
from lotgate.detectors.shared_pattern import SharedPattern
from lotgate.detectors.shared_texture import SharedTexture
from lotgate.detectors.shared_tone import SharedTone
from lotgate.detectors.shared_value import SharedValue
from lotgate.detectors.shared_wave import SharedWave
from lotgate.detectors.spectral_signatures import SpectralSignatures
from lotgate.detectors.trusted_distance import TrustedDistance
from lotgate.detectors.unexplained_clusters import UnexplainedClusters

DETECTORS: tuple[type[Detector], ...] = (
    ActivationClustering,
    SpectralSignatures,
    DePois,
    Disagreement,
    UnexplainedClusters,
    TrustedDistance,
    ExcessConfidence,
    SharedPattern,
    SharedTexture,
    SharedDetail,
    SharedTone,
    SharedWave,
    MixedOrigins,
    SharedValue,
    Corroboration,
)
