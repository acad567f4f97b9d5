"""The accumulator that every row passes once: a few numbers are kept of each, and no text."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from kto_tui.data.rows import Row, Text
from kto_tui.data.same import answer_key, prompt_key
from kto_tui.data.survey.extras import Extras
from kto_tui.data.survey.marks import marks_in, spoken
from kto_tui.data.survey.places import Places

EXAMPLES = 5
_MOST_CHARACTERS = 2**32 - 1
_Value = TypeVar("_Value", bound=np.generic)


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

    Prompts and answers are kept as 64-bit hashes (`data.same`). `each_once`: rows of one place are not the
    same row taken again, as the weight of a data set asks for. `extras`: what rows hold beside their text.
    """

    def __init__(self, *, each_once: bool = False) -> None:
        self.each_once = each_once
        self._places = Places()
        self._marked: dict[str, _Marked] = {}
        self._prompts = array("Q")
        self._answers = array("Q")
        self._labels = bytearray()
        self._sources = array("Q")
        self.extras = Extras()
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

    def begin_source(self) -> None:
        """The rows from here on are of another data set, or of one that is named twice."""
        self._sources.append(len(self._labels))

    def add(self, row: Row) -> None:
        """Take note of the next row."""
        assert self._chosen is None
        prompt, answer = row.prompt, row.completion
        if isinstance(prompt, str) and isinstance(answer, str):
            asked, said = prompt, answer
        else:
            asked, said = _said(prompt), _said(answer)
        size = _size(said)
        self._prompts.append(prompt_key(row))
        self._answers.append(answer_key(row))
        self._characters.append(min(size or _calls(answer), _MOST_CHARACTERS))
        self._places.add(row.where)
        if found := marks_in(asked) | marks_in(said):
            self._note(found, is_text=isinstance(prompt, str))
        if row.tools or not isinstance(answer, str):
            self.extras.add(row, len(self._labels), len(self._sources), says_nothing=not size)
        self._labels.append(row.label)

    def say_nothing(self, rows: NDArray[np.int64]) -> None:
        """The answers of these rows, numbered as `extras` does, turned out to be empty."""
        for row in rows.tolist():
            self._characters[row] = 0

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
            seen[family] = MarksSeen(frozenset(marked.marks), self.here(rows[texts]), self.here(rows[~texts]))
        return seen

    def here(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The numbers that these rows have in this survey."""
        return rows if self._chosen is None else np.flatnonzero(np.isin(self._chosen, rows))

    @property
    def prompts(self) -> NDArray[np.uint64]:
        """(rows,) equal for equal prompts with equal tools."""
        return self._of(np.array(self._prompts, dtype=np.uint64))

    @property
    def answers(self) -> NDArray[np.uint64]:
        """(rows,) equal for equal answers."""
        return self._of(np.array(self._answers, dtype=np.uint64))

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
        """(rows,) equal for rows of one place in one data set."""
        return self._of(self._places.keys ^ (self._sources_of_all << np.uint64(48)))

    @property
    def sources(self) -> NDArray[np.uint64]:
        """(rows,) which data set each is of, counted from 1 in the order of `begin_source`."""
        return self._of(self._sources_of_all)

    def of_sources(self, rows: NDArray[np.int64], sources: Sequence[int]) -> NDArray[np.int64]:
        """Those of the rows, numbered as `extras` does, that are of these data sets."""
        return rows[np.isin(self._sources_of_all[rows], np.array(sources, dtype=np.uint64))]

    @property
    def _sources_of_all(self) -> NDArray[np.uint64]:
        begins = np.array(self._sources, dtype=np.uint64)
        every = np.arange(len(self._labels), dtype=np.uint64)
        return np.searchsorted(begins, every, "right").astype(np.uint64)

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


def _said(text: Text) -> str:
    return text if isinstance(text, str) else spoken(text)


def _size(answer: str) -> int:
    return 0 if answer.isspace() else len(answer)


def _calls(answer: Text) -> int:
    """1 for an answer that calls tools: it is not empty, though it may say nothing."""
    return 0 if isinstance(answer, str) else int(any(message.get("tool_calls") for message in answer))
