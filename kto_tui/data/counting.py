"""How many rows there are, and how long their text is about."""

import heapq
import json
from collections.abc import Iterable

from kto_tui.core.counts import Counts, Sample
from kto_tui.data.rows import Message, Row, Text

_SAMPLES = 16
_LONGEST_SAMPLE = 1 << 16  # Characters that tell how many tokens come to a byte.


def count_rows(rows: Iterable[Row]) -> Counts:
    """How many rows there are of each label, and how long the longest ones are."""
    totals = [0, 0]
    longest_answer = 0
    longest: list[tuple[int, int, Row]] = []
    for number, row in enumerate(rows):
        totals[row.label] += 1
        answer = _bytes(row.completion)
        size = _bytes(row.prompt) + answer + (_bytes(_tools(row)) if row.tools else 0)
        longest_answer = max(longest_answer, answer)
        if len(longest) < _SAMPLES:
            heapq.heappush(longest, (size, number, row))
        elif size > longest[0][0]:
            heapq.heapreplace(longest, (size, number, row))
    samples = tuple(_sample(row) for _, _, row in longest)
    most = max((size for size, _, _ in longest), default=0)
    return Counts(totals[True], totals[False], most, longest_answer, samples)


def _sample(row: Row) -> Sample:
    prompt, answer = _tools(row) + _plain(row.prompt), _plain(row.completion)
    return Sample(prompt[:_LONGEST_SAMPLE], answer[:_LONGEST_SAMPLE])


def _bytes(text: Text) -> int:
    """In UTF-8."""
    plain = _plain(text)
    return len(plain) if plain.isascii() else len(plain.encode())


def _plain(text: Text) -> str:
    """All that a template may write of it; ChatML's marks stand for any."""
    return text if isinstance(text, str) else "".join(map(_marked, text))


def _marked(message: Message) -> str:
    if len(message) == 2:
        return f"<|im_start|>{message['role']}\n{message.get('content') or ''}<|im_end|>\n"
    parts = (value if isinstance(value, str) else json.dumps(value) for value in message.values() if value)
    return f"<|im_start|>{' '.join(parts)}<|im_end|>\n"


def _tools(row: Row) -> str:
    return json.dumps(row.tools) if row.tools else ""
