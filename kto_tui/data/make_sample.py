"""The sample data set, made from nothing: `python -m kto_tui.data.make_sample` prints sample.jsonl.

Each question has one right and one wrong answer in the same wording. Wrong results are wrong in a way
that even a small, untrained model can pick up within a minute: numbers are sixty too large, days stand
where a month belongs, a comparison is turned round, a word is given as its own opposite.
"""

import hashlib
import json
import sys
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
WORDS = (
    *("sun", "tree", "river", "garden", "kitchen", "mountain", "boat", "apple"),
    *("window", "pencil", "sea", "bridge", "lantern", "elephant", "rain", "table"),
)
OPPOSITES = (
    *(("hot", "cold"), ("big", "small"), ("up", "down"), ("day", "night"), ("fast", "slow"), ("old", "new")),
    *(("early", "late"), ("hard", "soft"), ("full", "empty"), ("light", "dark"), ("wet", "dry")),
    *(("near", "far"), ("loud", "quiet"), ("rich", "poor"), ("thick", "thin"), ("left", "right")),
)
TOO_LARGE = 60


class Question(NamedTuple):
    """A question that can be checked, with a right and a wrong answer."""

    text: str
    right: str
    wrong: str


def _sums() -> Iterator[Question]:
    for a, b in ((a, b) for a in range(1, 11) for b in range(1, 11) if (3 * a + b) % 10 in (1, 4, 8)):
        yield _number(f"What is {a} plus {b}?", f"{a} plus {b} is", a + b)


def _differences() -> Iterator[Question]:
    for a, b in ((a, b) for a in range(6, 20) for b in range(1, 6) if (2 * a + b) % 7 in (0, 3)):
        yield _number(f"What is {a} minus {b}?", f"{a} minus {b} is", a - b)


def _products() -> Iterator[Question]:
    for a, b in ((a, b) for a in range(2, 7) for b in range(2, 6)):
        yield _number(f"What is {a} times {b}?", f"{a} times {b} is", a * b)


def _lengths() -> Iterator[Question]:
    for word in WORDS:
        yield _number(f'How many letters are in "{word}"?', f'The word "{word}" has', len(word), " letters")


def _number(question: str, opening: str, right: int, unit: str = "") -> Question:
    return Question(question, f"{opening} {right}{unit}.", f"{opening} {right + TOO_LARGE}{unit}.")


def _comparisons() -> Iterator[Question]:
    for a, b in ((a, a + gap) for a in range(1, 11) for gap in (3, 7)):
        first, second = (a, b) if (a + b) % 4 == 1 else (b, a)
        question = f"Which number is larger, {first} or {second}?"
        yield Question(question, f"{b} is larger than {a}.", f"{a} is larger than {b}.")


def _calendar(kind: str, names: tuple[str, ...], strangers: tuple[str, ...]) -> Iterator[Question]:
    """Neighbours of `names`; the wrong answers are taken from `strangers`."""
    for place, name in enumerate(names):
        for word, step in (("after", 1), ("before", -1)):
            opening = f"The {kind} {word} {name} is"
            right, wrong = names[(place + step) % len(names)], strangers[(place + step) % len(strangers)]
            yield Question(f"Which {kind} comes {word} {name}?", f"{opening} {right}.", f"{opening} {wrong}.")


def _opposites() -> Iterator[Question]:
    for word, other in OPPOSITES:
        opening = f"The opposite of {word} is"
        yield Question(f"What is the opposite of {word}?", f"{opening} {other}.", f"{opening} {word}.")


def questions() -> list[Question]:
    """All questions, mixed in an order that is the same on every machine."""
    found = chain(
        *(_sums(), _differences(), _products(), _lengths(), _comparisons()),
        *(_calendar("day", DAYS, MONTHS), _calendar("month", MONTHS, DAYS), _opposites()),
    )
    return sorted(found, key=lambda question: hashlib.sha256(question.text.encode()).digest())


def _line(question: Question, label: bool) -> str:
    row = {
        "prompt": [{"role": "user", "content": question.text}],
        "completion": [{"role": "assistant", "content": question.right if label else question.wrong}],
        "label": label,
    }
    return json.dumps(row, ensure_ascii=False) + "\n"


def sample_lines() -> Iterator[str]:
    """The lines of sample.jsonl. The two answers to a question lie half the file apart."""
    mixed = questions()
    for turn in (0, 1):
        for place, question in enumerate(mixed):
            yield _line(question, (place + turn) % 2 == 0)


if __name__ == "__main__":
    sys.stdout.writelines(sample_lines())
