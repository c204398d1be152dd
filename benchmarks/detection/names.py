"""What README calls sets, attacks and what a model was trained on, in the order of its tables."""

IMAGES = {
    "digits": "digits", "mnist_t10k": "MNIST", "cifar10": "CIFAR-10", "neu_steel": "steel", "digits_two": "digits 1, 8",
    "mnist_two": "MNIST 4, 9", "cifar10_two": "CIFAR 1, 9", "neu_two": "steel 0, 5", "weave": "weave", "cast": "cast",
    "metal": "metal",
}  # fmt: skip
TABLES = {
    "ai4i2020": "AI4I", "fourclass": "fourclass", "breast_cancer": "breast cancer", "house_prices": "house prices",
    "diabetes": "diabetes",
}  # fmt: skip
SETS = IMAGES | TABLES
IN_ORDER = {"mnist_order": "MNIST", "neu_order": "steel"}
WHOLE = {"neu_whole": "steel"}
PARTS = {"raw": "all", "kept": "kept", "perfect": "perfect filter"}
ATTACKS = {
    "none": "no attack", "patch": "patch", "patch_random": "patch at random places", "blended": "blend",
    "adaptive_blend": "adaptive blend", "adaptive_patch": "adaptive patch",
    "low_frequency": "smooth pattern", "reflection": "reflection",
    "warping": "warp", "frequency": "FTrojan's frequencies", "colour_cast": "cast of colour",
    "all_to_all": "all-to-all patch",
    "multi_trigger": "several triggers", "source_specific": "source-specific patch",
    "sinusoid": "sinusoid (clean labels)", "label_consistent": "label-consistent patch",
    "table_trigger": "trigger in columns", "art_pattern": "ART: pattern", "art_pixel": "ART: pixel",
    "art_image": "ART: image", "art_clean_label": "ART: clean-label", "feature_collision": "feature collision",
    "art_feature_collision": "ART: feature collision", "bullseye_polytope": "bullseye polytope",
    "convex_polytope": "convex polytope", "pgan": "GAN poison", "generative_poisoning": "generative poison",
    "critic_evasion": "evades De-Pois, 16 levels", "critic_evasion_wide": "evades De-Pois, 77 levels",
    "out_of_distribution": "junk", "trusted_copy": "copies of trusted rows", "label_flip_random": "random flips",
    "label_flip_pairwise": "pairwise flips", "label_flip_margin": "flips at the margin",
    "regression_optimised": "optimised targets", "regression_statistical": "statistical targets",
    "regression_pulled": "pulled targets", "mixed": "trigger and random flips",
    "mixed_blended": "blend and random flips",
}  # fmt: skip
