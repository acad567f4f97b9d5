"""How adapters are judged: what is asked of held_out.py and what it answers. Light to import."""

import msgspec


class Judging(msgspec.Struct, frozen=True, kw_only=True):
    """Adapters of one base, and the rows to judge them by."""

    model: str
    adapters: list[str]
    dataset: str
    max_length: int
    beta: float = 0.1


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """KTO's loss with one z over all rows, mean reward of desirable less that of undesirable rows, and AUC.

    `kl` is z: the mean log-ratio of each prompt with another row's answer, not below 0.
    """

    loss: float
    margin: float
    auc: float
    kl: float


class Verdicts(msgspec.Struct, frozen=True, kw_only=True):
    """One for each adapter, in their order."""

    verdicts: list[Verdict]
