"""From what stands in a rating to desirable or not."""

import math
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from kto_tui.core.errors import UserError, printable
from kto_tui.data.formats.base import (
    MISSING,
    Format,
    Record,
    TiedError,
    UnexplainedScale,
    UnratedError,
    cell,
    look_up,
)
from kto_tui.data.formats.scale import Scale
from kto_tui.data.labels import EXPECTED, Rating, is_emoji, parse_label, parse_rating, says_bad, says_nothing
from kto_tui.data.rows import Columns
from kto_tui.data.wording import listed, shown

REACTION = "reaction"
# Columns of training files, whose author rated every row: a null there is a mistake.
_RATED_WHOLLY = ("label", "kto_tag")
_MOST_SEEN = 6
_OPPOSITES = {"thumbs_up": ("thumbs_down",), "upvote": ("downvote",), "like": ("dislike",)}


class Judge:
    """Tells desirable from undesirable ratings of one source.

    Without `at_least`: true/false, 0/1 and words. With it: numbers from it on are desirable, numbers below
    are not (so 1 makes 0 and -1 of a -1/0/1 scale undesirable); true/false and words keep their meaning.
    Null, NaN and empty text are no rating, except in `label` and `kto_tag`; in `reaction` any other emoji
    than a thumb is none either. `seen` are values of the first records: they show the scale, and are told
    where nobody explained it.
    """

    def __init__(self, column: str, at_least: float | None, seen: Iterable[Any] = ()) -> None:
        self.column = column
        # The column beside, where a rating is one of two: what is good, and what is bad.
        self.opposite = _OPPOSITES.get(column, ())
        self._at_least = at_least
        self._seen = tuple(dict.fromkeys(value for value in seen if isinstance(value, (str, int, float))))
        ratings = (parse_rating(value) for value in self._seen)
        self._scale = Scale(at_least or 0, (rating for rating in ratings if rating))
        # Where the user's column is none of the ratings found: those.
        self.others: tuple[str, ...] = ()
        self._was_found = False
        self._numbers: set[float] = set()  # Of those taken: 0, 1, and one between and one beyond.

    @classmethod
    def of(
        cls, columns: Columns, column: str, values: Iterable[Any], source: str, names: Iterable[str] = ()
    ) -> "Judge":
        """For the ratings in a column, of which the first are known. Raises UnexplainedScale.

        `names` are those of all ratings of an export. Raises UserError for a column that says what is bad.
        """
        if says_bad(column):
            raise UserError(
                f'{source}: a yes in "{printable(column)}" says that the answer is bad; rate by a column that'
                " says what is good, with the opposite values"
            )
        judge = cls(column, columns.desirable_at_least, values)
        found = tuple(dict.fromkeys(names))
        judge.others = found if columns.names_label and columns.label not in found else ()
        judge._was_found = column != columns.label
        judge.require_explained(source)
        return judge

    def require_explained(self, source: str) -> None:
        """Raise UnexplainedScale if the first values are of another scale than good and bad."""
        odd = next((value for value in self._seen if self._is_unexplained(value)), None)
        if odd is not None:
            raise self._unexplained(odd, source)

    def at_odds(self) -> str:
        """What is wrong with the threshold, or the column, by all ratings so far; "" if nothing is.

        A threshold above 1 belongs to another scale than ratings from 0 to 1, and makes all of them
        undesirable. Of ratings that are all 1 nobody can tell: a thumb up, or one star. All 0 is bad on any
        scale.
        """
        if self.others and not self._was_found:
            found = listed(self.others)
            return f'no rating "{printable(self.column)}"; found {found} (choose one with --label-column)'
        above = self._at_least is not None and self._at_least > 1
        if not above or self._numbers <= {0.0} or max(self._numbers) > 1:
            return ""
        made = f"--desirable-at-least {self._at_least:g} makes every row undesirable"
        if self._numbers == {1.0}:
            return (
                f'all ratings are 1, and {made}; write them as "1/5" if that is one star of five, as true if'
                " it is a thumb up (KTO needs both desirable and undesirable answers)"
            )
        if self._numbers == {0.0, 1.0}:
            return f"all ratings are 0 or 1, and {made}; leave it out, or write them as true and false"
        return f"all ratings are from 0 to 1, and {made}; choose a number between"

    def of_record(self, record: Record, where: str) -> bool:
        """The rating in the column. Raises UnratedError also where a record lacks it and others have it."""
        value = look_up(record, self.column)
        for name in self.opposite:
            if name in record and (said := self._torn(value, record[name], where)) is not None:
                return said
        if value is MISSING and self._seen and self.column not in _RATED_WHOLLY:
            raise self._unrated(where)
        return self.desirable(cell(record, self.column, "--label-column", where), where)

    def _torn(self, up: Any, down: Any, where: str) -> bool | None:
        """What thumbs up and thumbs down beside each other say; None where the former alone says it.

        Raises UnratedError if both are none, TiedError if both are there.
        """
        bad = parse_label(down)
        if not bad:
            if bad is False and parse_label(up) is False:
                raise self._unrated(where)
            return None
        if parse_label(up):
            raise TiedError(f'{where}: "{self.column}" and {listed(self.opposite)} both say yes')
        return None if parse_label(up) is None and not self._says_nothing(up) and up is not MISSING else False

    def desirable(self, value: Any, where: str) -> bool:
        """Raises UserError for what is no rating, UnexplainedScale for one of a scale, UnratedError."""
        if value is True or value is False:
            return bool(value)
        if type(value) is Decimal:
            value = float(value)
        label = parse_label(value) if self._at_least is None else self._compared(value, where)
        if label is not None:
            return label
        if self._is_unexplained(value):
            raise self._unexplained(value, where)
        if self._says_nothing(value):
            raise self._unrated(where)
        raise UserError(f'{where}: "{self.column}" is {shown(value)}; expected {self._expected()}')

    def majority(self, values: Iterable[Any], where: str) -> bool:
        """What most people say. Raises UnratedError if nobody says anything, TiedError if they are torn."""
        said = (value for value in values if value is not None and not self._says_nothing(value))
        votes = [self.desirable(value, where) for value in said]
        if not votes:
            raise self._unrated(where)
        self._was_found = True
        good = sum(votes)
        if good * 2 == len(votes):
            raise TiedError(f'{where}: "{self.column}" is rated good as often as bad')
        return good * 2 > len(votes)

    def _says_nothing(self, value: Any) -> bool:
        if self.column in _RATED_WHOLLY:
            return False
        if isinstance(value, str):
            return says_nothing(value) or (self.column == REACTION and is_emoji(value))
        return value is None or (isinstance(value, float) and math.isnan(value))

    def _unrated(self, where: str) -> UnratedError:
        return UnratedError(f'{where}: no rating in "{self.column}"')

    def _compared(self, value: Any, where: str) -> bool | None:
        assert self._at_least is not None
        rating = parse_rating(value)
        if rating is None:
            return parse_label(value)
        if (expected := self._scale.take(rating)) is not None:
            found = shown(value) if rating.out_of is None else f"{rating.value:g} out of {rating.out_of:g}"
            raise UserError(f'{where}: "{self.column}" is {found}; expected {expected}')
        self._numbers.add(_kind(rating))
        return rating.value >= self._at_least

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
        reads = None if columns is None else columns | {*judge.opposite}
        super().__init__(name, reads, (*uses, judge.column))
        self._judge = judge
        self.unnamed = judge.others

    def at_odds(self) -> str:
        return self._judge.at_odds()


def _kind(rating: Rating) -> float:
    """0 and 1 as they are, 0.5 for what lies between; "1/5" says what it is, and is like any other number."""
    if rating.out_of is not None or not 0 <= rating.value <= 1:
        return 2.0
    return rating.value if rating.value in (0, 1) else 0.5


def distinct(values: Iterable[Any]) -> Sequence[Any]:
    """The ratings among values, each once, in their order; lists are looked into."""
    flat = (inner for value in values for inner in (value if isinstance(value, list) else [value]))
    plain = (float(value) if type(value) is Decimal else value for value in flat)
    return list(dict.fromkeys(value for value in plain if isinstance(value, (str, int, float))))
