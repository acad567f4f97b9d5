"""The accumulator that every row passes once: a few numbers are kept of each, and no text."""

from array import array
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from kto_tui.data.rows import Row, Text
from kto_tui.data.survey.marks import marks_in, spoken
from kto_tui.data.survey.places import Places

EXAMPLES = 5
_MOST_CHARACTERS = 2**32 - 1
_Value = TypeVar("_Value", bound=np.generic)
_encode = msgspec.json.Encoder(order="deterministic").encode


@dataclass
class _Marked:
    """Rows that hold marks of one template as text: their numbers, and whether their prompt is text."""

    rows: "array[int]" = field(default_factory=lambda: array("I"))
    are_texts: bytearray = field(default_factory=bytearray)
    marks: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class MarksSeen:
    """Rows of a survey that hold marks of one template, in texts and in conversations: (some,) numbers."""

    marks: frozenset[str]
    texts: NDArray[np.int64]
    conversations: NDArray[np.int64]


class RowSurvey:
    """Takes rows one by one, in 27 bytes a row, whatever their length.

    Prompts and answers are kept as 64-bit hashes (Python's own, salted by the process, so that two surveys
    can only be compared in the process that made both). Two of a million different texts are taken for one
    with a chance of 3e-8. `each_once`: rows of one place are not the same row taken again, as the weight of
    a data set asks for.
    """

    def __init__(self, *, each_once: bool = False) -> None:
        self.each_once = each_once
        self._places = Places()
        self._marked: dict[str, _Marked] = {}
        self._prompts = array("q")
        self._answers = array("q")
        self._labels = bytearray()
        self._characters = array("I")
        self._chosen: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self._labels) if self._chosen is None else len(self._chosen)

    @property
    def bytes(self) -> int:
        """Memory that the rows take; each template found in a row takes 5 more."""
        kept = 8 * len(self._prompts) + 8 * len(self._answers) + len(self._labels)
        return kept + 4 * len(self._characters) + self._places.bytes

    def chosen(self, rows: NDArray[np.int64]) -> "RowSurvey":
        """A survey of these rows alone, in this order: a view, to which none can be added."""
        view = RowSurvey.__new__(RowSurvey)
        view.__dict__.update(self.__dict__)
        view._chosen = rows if self._chosen is None else self._chosen[rows]
        return view

    def add(self, row: Row) -> None:
        """Take note of the next row."""
        assert self._chosen is None
        prompt, answer = row.prompt, row.completion
        if isinstance(prompt, str) and isinstance(answer, str):
            asked, said, size = prompt, answer, _size(answer)
        else:
            asked, said, size = _said(prompt), _said(answer), _answer_size(answer)
        key = _hash(prompt)
        if row.tools:
            key ^= hash(_encode(row.tools))
        self._prompts.append(key)
        self._answers.append(_hash(answer))
        self._characters.append(min(size, _MOST_CHARACTERS))
        self._places.add(row.where)
        if found := marks_in(asked) | marks_in(said):
            self._note(found, is_text=isinstance(prompt, str))
        self._labels.append(row.label)

    def _note(self, found: set[tuple[str, str]], *, is_text: bool) -> None:
        for family in {family for family, _ in found}:
            marked = self._marked.setdefault(family, _Marked())
            marked.rows.append(len(self._labels))
            marked.are_texts.append(is_text)
            marked.marks.update(mark for theirs, mark in found if theirs == family)

    @property
    def marks(self) -> dict[str, MarksSeen]:
        """The templates of which marks stand in rows, by family."""
        seen = {}
        for family, marked in self._marked.items():
            rows, texts = np.array(marked.rows, dtype=np.int64), np.array(marked.are_texts, dtype=np.bool_)
            seen[family] = MarksSeen(
                frozenset(marked.marks), self._here(rows[texts]), self._here(rows[~texts])
            )
        return seen

    def _here(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The numbers that these rows have in this survey."""
        return rows if self._chosen is None else np.flatnonzero(np.isin(self._chosen, rows))

    @property
    def prompts(self) -> NDArray[np.uint64]:
        """(rows,) equal for equal prompts with equal tools."""
        return self._of(np.array(self._prompts, dtype=np.int64).view(np.uint64))

    @property
    def answers(self) -> NDArray[np.uint64]:
        """(rows,) equal for equal answers."""
        return self._of(np.array(self._answers, dtype=np.int64).view(np.uint64))

    @property
    def labels(self) -> NDArray[np.bool_]:
        """(rows,) True for desirable."""
        return self._of(np.array(self._labels, dtype=np.bool_))

    @property
    def characters(self) -> NDArray[np.int64]:
        """(rows,) length of the answer; 0 for one that says nothing."""
        return self._of(np.array(self._characters, dtype=np.int64))

    @property
    def places(self) -> NDArray[np.uint64]:
        """(rows,) equal for rows of one place."""
        return self._of(self._places.keys)

    def where(self, row: int, other: int | None = None) -> str:
        """Where a person finds the row, or both rows."""
        if other is None:
            return self._places.of(self._number(row))
        return self._places.pair(self._number(row), self._number(other))

    def _number(self, row: int) -> int:
        return row if self._chosen is None else int(self._chosen[row])

    def _of(self, values: NDArray[_Value]) -> NDArray[_Value]:
        return values if self._chosen is None else values[self._chosen]


def pairs_of(prompts: NDArray[np.uint64], answers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """(rows,) equal for equal prompts with equal answers. The odd factor keeps (a, b) and (b, a) apart."""
    return prompts * np.uint64(0x9E3779B97F4A7C15) + answers


def _hash(text: Text) -> int:
    return hash(text) if isinstance(text, str) else hash(_encode(text))


def _said(text: Text) -> str:
    return text if isinstance(text, str) else spoken(text)


def _size(answer: str) -> int:
    return 0 if answer.isspace() else len(answer)


def _answer_size(answer: Text) -> int:
    """Characters of an answer; one that only calls tools is not empty."""
    size = _size(_said(answer))
    calls = not isinstance(answer, str) and any(message.get("tool_calls") for message in answer)
    return max(size, 1) if calls else size
