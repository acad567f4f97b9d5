"""Rows to measure on: a data set's, or made up in real chats' lengths; only such as no side drops."""

import json
import math
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING

import msgspec

from benchmarks.child import serve
from kto_tui.data import Columns, Row, load_rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

GENERATED = "generated"
_SEED = 7
# 5th, 50th and 95th percentile of kto_en_demo (300 rated chats in English), in SmolLM2's tokens.
_PROMPT_TOKENS = (42, 143, 1344)
_COMPLETION_TOKENS = (15, 270, 699)
_TEXT = (
    "the of and to in is you that it he was for on are as with his they at be this have from or one had by "
    "word but not what all were we when your can said there use an each which she do how their if will up"
)


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """Which rows to write to `file`, as the model in `model` tokenizes them.

    `source` is a data set as --dataset takes it, or `generated`. The first `count` rows are taken whose
    prompt leaves room for an answer within `max_length` tokens. With `rest` set, rows are drawn at random
    instead, and what is left goes there: no prompt of it is among the chosen.
    """

    source: str
    model: str
    file: str
    count: int
    max_length: int
    rest: str | None = None


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of each chosen row (prompt, answer), before it is truncated, and how many rows of which kind."""

    lengths: list[tuple[int, int]]
    desirable: int
    too_long: int
    rest: int = 0


def choose(choice: Choice) -> Chosen:
    """Write the rows. Raises ValueError where the source has too few."""
    from transformers import AutoTokenizer

    from kto_tui.training.dataset import tokenize_row

    tokenizer = AutoTokenizer.from_pretrained(choice.model, local_files_only=True)
    fitting: list[tuple[Row, tuple[int, int]]] = []
    seen = 0
    for row in _rows(choice, tokenizer):
        seen += 1
        prompt, completion, _ = tokenize_row(row, tokenizer)
        if len(prompt) < choice.max_length:
            fitting.append((row, (len(prompt), len(completion))))
        if len(fitting) == choice.count and choice.rest is None:
            break
    if len(fitting) < choice.count:
        raise ValueError(
            f"{choice.source}: {len(fitting)} rows leave room for an answer in {choice.max_length} tokens, "
            f"and {choice.count} are needed: take fewer, or another data set"
        )
    rows, rest = (fitting, []) if choice.rest is None else _split(fitting, choice.count)
    _write(Path(choice.file), (row for row, _ in rows))
    if choice.rest is not None:
        _write(Path(choice.rest), (row for row, _ in rest))
    return Chosen(
        lengths=[lengths for _, lengths in rows],
        desirable=sum(row.label for row, _ in rows),
        too_long=seen - len(fitting),
        rest=len(rest),
    )


def _rows(choice: Choice, tokenizer: "PreTrainedTokenizerBase") -> Iterable[Row]:
    if choice.source == GENERATED:
        return _generated(tokenizer)
    return load_rows(choice.source, Columns())


def _generated(tokenizer: "PreTrainedTokenizerBase") -> Iterator[Row]:
    """Chats without end whose lengths are distributed as kto_en_demo's; the words mean nothing."""
    from kto_tui.training.dataset import tokenize_row

    draw, words = random.Random(_SEED), _TEXT.split()
    plain = Row(_said("user", _TEXT), _said("assistant", _TEXT), True, GENERATED)
    tokens_a_word = len(tokenizer(_TEXT)["input_ids"]) / len(words)
    template = len(tokenize_row(plain, tokenizer)[0]) - tokens_a_word * len(words)

    def text(tokens: float) -> str:
        return " ".join(draw.choices(words, k=max(1, round(tokens / tokens_a_word))))

    while True:
        prompt = _said("user", text(_drawn(draw, _PROMPT_TOKENS) - template))
        answer = _said("assistant", text(_drawn(draw, _COMPLETION_TOKENS)))
        yield Row(prompt, answer, draw.random() < 0.5, GENERATED)


def _said(role: str, content: str) -> list[dict[str, str]]:
    return [{"role": role, "content": content}]


def _drawn(draw: random.Random, percentiles: tuple[int, int, int]) -> float:
    """A length from a log-normal of two halves that has these 5th, 50th and 95th percentiles."""
    low, middle, high = map(math.log, percentiles)
    spread = NormalDist().inv_cdf(0.95)
    place = draw.gauss(0, 1)
    return math.exp(middle + place / spread * (high - middle if place > 0 else middle - low))


def _split(
    rows: list[tuple[Row, tuple[int, int]]], count: int
) -> tuple[list[tuple[Row, tuple[int, int]]], list[tuple[Row, tuple[int, int]]]]:
    """`count` rows at random, and those of the rest whose prompt is not among them."""
    mixed = list(rows)
    random.Random(_SEED).shuffle(mixed)
    first_seen = {json.dumps(row.prompt): place for place, (row, _) in reversed(list(enumerate(mixed)))}
    # Rows of one prompt move together, to where the first of them is.
    mixed.sort(key=lambda pair: first_seen[json.dumps(pair[0].prompt)])
    chosen, rest = mixed[:count], mixed[count:]
    known = {json.dumps(row.prompt) for row, _ in chosen}
    random.Random(_SEED + 1).shuffle(chosen)
    return chosen, [pair for pair in rest if json.dumps(pair[0].prompt) not in known]


def _write(path: Path, rows: Iterable[Row]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            record = {"prompt": row.prompt, "completion": row.completion, "label": row.label}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    serve(choose, Choice)
