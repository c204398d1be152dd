"""The parts of De-Pois: scaling, networks, losses, the two training stages, checkpoints."""
