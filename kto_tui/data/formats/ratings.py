"""From what stands in a rating to desirable or not."""

from collections.abc import Iterable, Sequence
from typing import Any

from kto_tui.core.errors import UserError
from kto_tui.data.formats.base import TiedError, UnratedError
from kto_tui.data.labels import EXPECTED, parse_label, parse_rating
from kto_tui.data.rows import Columns
from kto_tui.data.wording import shown

_MOST_SEEN = 6


class Judge:
    """Tells desirable from undesirable ratings of one source.

    Without `at_least`: true/false, 0/1 and words. With it: numbers from it on are desirable, numbers below
    are not (so 1 makes 0 and -1 of a -1/0/1 scale undesirable); true/false and words keep their meaning.
    `seen` are values of the first records, for the message of a scale that nobody explained.
    """

    def __init__(self, column: str, at_least: float | None, seen: Iterable[Any] = ()) -> None:
        self.column = column
        self._at_least = at_least
        self._seen = tuple(dict.fromkeys(value for value in seen if isinstance(value, (str, int, float))))
        self._out_of: float | None = None

    @classmethod
    def of(cls, columns: Columns, column: str, values: Iterable[Any] = ()) -> "Judge":
        """For the ratings in a column, of which the first are known."""
        return cls(column, columns.desirable_at_least, values)

    def desirable(self, value: Any, where: str) -> bool:
        """Raises UserError for what is no rating."""
        if value is True or value is False:
            return bool(value)
        label = parse_label(value) if self._at_least is None else self._compared(value, where)
        if label is None:
            raise UserError(f'{where}: "{self.column}" is {shown(value)}; expected {self._expected(value)}')
        return label

    def majority(self, values: Iterable[Any], where: str) -> bool:
        """What most people say. Raises UnratedError if nobody says anything, TiedError if they are torn."""
        votes = [self.desirable(value, where) for value in values if value is not None]
        if not votes:
            raise UnratedError(f'{where}: no rating in "{self.column}"')
        good = sum(votes)
        if good * 2 == len(votes):
            raise TiedError(f'{where}: "{self.column}" is rated good as often as bad')
        return good * 2 > len(votes)

    def _compared(self, value: Any, where: str) -> bool | None:
        assert self._at_least is not None
        rating = parse_rating(value)
        if rating is None:
            return parse_label(value)
        if rating.out_of is not None:
            self._require_scale(rating.out_of, rating.value, where)
        return rating.value >= self._at_least

    def _require_scale(self, out_of: float, value: float, where: str) -> None:
        self._out_of = self._out_of or out_of
        if out_of != self._out_of or value > out_of or (self._at_least or 0) > out_of:
            raise UserError(
                f'{where}: "{self.column}" is {value:g} out of {out_of:g}; expected ratings out of'
                f" {max(self._out_of, self._at_least or 0):g}, as --desirable-at-least {self._at_least:g} and"
                " the rows before have it"
            )

    def _expected(self, value: Any) -> str:
        if self._at_least is not None:
            return f"a number (desirable from --desirable-at-least {self._at_least:g} on), true/false, yes/no"
        if parse_rating(value) is None:
            return f"{EXPECTED} (choose the column with --label-column)"
        seen = ", ".join(shown(item) for item in self._seen[:_MOST_SEEN])
        found = f", found: {seen}" if seen else ""
        return f"{EXPECTED}, or say from which number on: --desirable-at-least {self._advice(value)}{found}"

    def _advice(self, value: Any) -> str:
        numbers = [rating.value for item in (value, *self._seen) if (rating := parse_rating(item))]
        top, bottom = max(numbers), min(numbers)
        if bottom < 0 and top <= 1:
            return "1 (0 and -1 are then undesirable)"
        if top <= 1:
            return "0.5"
        return "4" if top <= 5 else f"{0.7 * min(top, 100):g}"


def distinct(values: Iterable[Any]) -> Sequence[Any]:
    """The ratings among values, each once, in their order; lists are looked into."""
    flat = (inner for value in values for inner in (value if isinstance(value, list) else [value]))
    return list(dict.fromkeys(value for value in flat if isinstance(value, (str, int, float))))
