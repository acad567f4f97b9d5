"""Whether all ratings of a source are of one scale, as far as they show it."""

from collections.abc import Iterable

from kto_tui.data.labels import Rating
from kto_tui.data.wording import shown

_FIRST = "as the first rows have it"


class Scale:
    """What the ratings of one source show of their scale; one that cannot be of it is refused.

    What the first rows show holds for every row. Beyond that, what was taken is remembered, and what was
    refused is not: all that is remembered fits together, so that a second reading takes the same rows.
    Whole numbers that grow (first 1 to 5, later 80) are not refused: so do counts of votes.
    """

    def __init__(self, at_least: float, first: Iterable[Rating]) -> None:
        self._at_least = at_least
        ratings = list(first)
        out_of = {r.out_of for r in ratings if r.out_of is not None and r.out_of >= max(at_least, 0)}
        self._known = max(out_of) if len(out_of) == 1 else None
        bare = [r.value for r in ratings] if all(r.out_of is None for r in ratings) else []
        self._most = max(bare, default=None)
        self._are_shares = all(0 <= value <= 1 for value in bare) and any(0 < value < 1 for value in bare)
        self._are_steps = all(value == int(value) for value in bare) and any(value > 1 for value in bare)
        self._top: float | None = None  # Of the ratings without "out of" that were taken.
        self._out_of: float | None = None

    def take(self, rating: Rating) -> str | None:
        """None if the rating fits, and is remembered; otherwise what was expected instead."""
        wrong = self._bare(rating.value) if rating.out_of is None else self._of(rating.value, rating.out_of)
        if wrong is not None:
            return wrong
        if rating.out_of is None:
            self._top = rating.value if self._top is None else max(self._top, rating.value)
        else:
            self._out_of = rating.out_of
        return None

    def _bare(self, value: float) -> str | None:
        if self._known is not None and value > self._known:
            return f"ratings out of {_plain(self._known)}, {_FIRST}"
        if self._out_of is not None and value > self._out_of:
            return f"ratings out of {_plain(self._out_of)}, as a row before has it"
        if self._are_shares and value > 1:
            return f"ratings from 0 to 1, {_FIRST}"
        if self._are_steps and 0 < value < 1:
            return f"whole numbers, {_FIRST}"
        return None

    def _of(self, value: float, out_of: float) -> str | None:
        if self._at_least > out_of:
            return f"ratings out of {_plain(self._at_least)} or more, since --desirable-at-least is that"
        if value > out_of:
            return f"at most {_plain(out_of)}"
        expected = self._known or self._out_of or out_of
        if out_of != expected:
            whose = _FIRST if self._known else "as a row before has it"
            return f"ratings out of {_plain(expected)}, {whose}"
        if self._top is not None and self._top > out_of:
            return f"ratings of one scale, and a row before is rated {_plain(self._top)}"
        # Twenty ratings without one of the upper half: they are out of less.
        if self._most is not None and 2 * self._most <= out_of:
            return f"ratings of one scale, and the first rows are rated {_plain(self._most)} at most"
        return None


def _plain(value: float) -> str:
    """Without a fraction of nothing; JSON's whole numbers may be longer than any float."""
    return f"{value:g}" if abs(value) < 10**6 else shown(value)
