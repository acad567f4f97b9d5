"""Weights that make up for unlike numbers of desirable and undesirable rows."""

LOWEST_RATIO, HIGHEST_RATIO = 1.0, 4 / 3  # Eq. 8 of arXiv 2402.01306.


def balanced_weights(desirable: int, undesirable: int) -> tuple[float, float]:
    """(w_d, w_u) with w_d·n_d : w_u·n_u in the band 1:1 to 4:3 (eq. 8 of arXiv 2402.01306).

    Both stay 1 inside the band. Outside it the smaller side is raised just to the nearest edge.
    """
    ratio = desirable / undesirable
    if ratio < LOWEST_RATIO:
        return undesirable / desirable, 1.0
    if ratio > HIGHEST_RATIO:
        return 1.0, desirable / (undesirable * HIGHEST_RATIO)
    return 1.0, 1.0
