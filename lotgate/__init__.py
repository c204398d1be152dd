"""Lot acceptance for training data: screen, gate, quarantine, version, and only then train."""

__version__ = "0.1.0"
