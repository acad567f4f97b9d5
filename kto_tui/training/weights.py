"""Weights of desirable and undesirable rows."""

from kto_tui.core.config import RunConfig, class_weights

HIGHEST_RATIO = 4 / 3


def chosen_weights(config: RunConfig, desirable: int, undesirable: int) -> tuple[float, float]:
    """(w_d, w_u) as the settings give them, or balanced for so many rows of each label."""
    return class_weights(config.class_weights) or balanced_weights(desirable, undesirable)


def balanced_weights(desirable: int, undesirable: int) -> tuple[float, float]:
    """(w_d, w_u) with w_d·n_d : w_u·n_u in the band 1:1 to 4:3 (eq. 8 of arXiv 2402.01306).

    Both stay 1 inside the band. Outside it the smaller side is raised just to the nearest edge.
    """
    ratio = desirable / undesirable
    if ratio < 1:
        return undesirable / desirable, 1.0
    if ratio > HIGHEST_RATIO:
        return 1.0, desirable / (undesirable * HIGHEST_RATIO)
    return 1.0, 1.0
