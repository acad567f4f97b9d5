"""From what stands in a rating to desirable or not."""

from collections.abc import Iterable, Sequence
from typing import Any

from kto_tui.core.errors import UserError
from kto_tui.data.formats.base import Format, TiedError, UnexplainedScale, UnratedError
from kto_tui.data.labels import EXPECTED, Rating, parse_label, parse_rating
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
        # Of the first records alone, so that reading a second time judges as the first time did.
        ratings = (parse_rating(value) for value in self._seen)
        least = max(at_least or 0, 0)
        self._known = {r.out_of for r in ratings if r and r.out_of is not None and r.out_of >= least}
        self._zero_one = self._other = False

    @classmethod
    def of(cls, columns: Columns, column: str, values: Iterable[Any], source: str) -> "Judge":
        """For the ratings in a column, of which the first are known. Raises UnexplainedScale."""
        judge = cls(column, columns.desirable_at_least, values)
        judge.require_explained(source)
        return judge

    def require_explained(self, source: str) -> None:
        """Raise UnexplainedScale if the first values are of another scale than good and bad."""
        odd = next((value for value in self._seen if self._is_unexplained(value)), None)
        if odd is not None:
            raise self._unexplained(odd, source)

    def only_zero_one(self) -> bool:
        """Whether all numbers so far were 0 or 1, though desirable begins above 1."""
        above = self._at_least is not None and self._at_least > 1
        return above and self._zero_one and not self._other

    def desirable(self, value: Any, where: str) -> bool:
        """Raises UserError for what is no rating, UnexplainedScale for one of a scale."""
        if value is True or value is False:
            return bool(value)
        label = parse_label(value) if self._at_least is None else self._compared(value, where)
        if label is not None:
            return label
        if self._is_unexplained(value):
            raise self._unexplained(value, where)
        raise UserError(f'{where}: "{self.column}" is {shown(value)}; expected {self._expected()}')

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
        self._require_scale(rating, where)
        if rating.out_of is None and rating.value in (0, 1):
            self._zero_one = True
        else:
            self._other = True
        return rating.value >= self._at_least

    def _require_scale(self, rating: Rating, where: str) -> None:
        """Of 4/5 and the like all must be out of the same, and a bare number not above it."""
        value, out_of = rating
        at_least = self._at_least or 0
        if out_of is None:
            if len(self._known) == 1 and value > (most := max(self._known)):
                raise UserError(
                    f'{where}: "{self.column}" is {shown(value)}; expected ratings out of {most:g},'
                    " as the first rows have it"
                )
            return
        expected = self._out_of or out_of
        if out_of != expected or value > out_of or at_least > out_of:
            raise UserError(
                f'{where}: "{self.column}" is {value:g} out of {out_of:g}; expected ratings out of'
                f" {max(expected, at_least):g}, as --desirable-at-least {at_least:g} and"
                " the rows before have it"
            )
        self._out_of = out_of

    def _is_unexplained(self, value: Any) -> bool:
        return self._at_least is None and parse_label(value) is None and parse_rating(value) is not None

    def _unexplained(self, value: Any, where: str) -> UnexplainedScale:
        seen = ", ".join(shown(item) for item in self._seen[:_MOST_SEEN])
        found = f", found: {seen}" if seen else ""
        return UnexplainedScale(
            f'{where}: "{self.column}" is {shown(value)}; expected {EXPECTED}, or say from which number on:'
            f" --desirable-at-least {self._advice(value)}{found}"
        )

    def _expected(self) -> str:
        if self._at_least is None:
            return f"{EXPECTED} (choose the column with --label-column)"
        return f"a number (desirable from --desirable-at-least {self._at_least:g} on), true/false, yes/no"

    def _advice(self, value: Any) -> str:
        numbers = [rating.value for item in (value, *self._seen) if (rating := parse_rating(item))]
        top, bottom = max(numbers), min(numbers)
        if bottom < 0 and top <= 1:
            return "1 (0 and -1 are then undesirable)"
        if top <= 1:
            return "0.5"
        return "4" if top <= 5 else f"{0.7 * min(top, 100):g}"


class Judged(Format):
    """Base of the formats with a rating."""

    def __init__(
        self, name: str, judge: Judge, columns: frozenset[str] | None = None, uses: Iterable[str] = ()
    ) -> None:
        super().__init__(name, columns, (*uses, judge.column))
        self._judge = judge

    def only_zero_one(self) -> bool:
        return self._judge.only_zero_one()


def distinct(values: Iterable[Any]) -> Sequence[Any]:
    """The ratings among values, each once, in their order; lists are looked into."""
    flat = (inner for value in values for inner in (value if isinstance(value, list) else [value]))
    return list(dict.fromkeys(value for value in flat if isinstance(value, (str, int, float))))
