"""Weights of desirable and undesirable rows."""

from kto_tui.core.config import RunConfig, class_weights
from kto_tui.data.survey.balance import balanced_weights


def chosen_weights(config: RunConfig, desirable: int, undesirable: int) -> tuple[float, float]:
    """(w_d, w_u) as the settings give them, or balanced for so many rows of each label."""
    return class_weights(config.class_weights) or balanced_weights(desirable, undesirable)
