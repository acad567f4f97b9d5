"""What a data report says: plain records that the worker makes and everybody shows."""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

MOST = 2**53
LINE = 16 * 1024

Count = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
Line = Annotated[str, msgspec.Meta(max_length=LINE)]
Figures = Annotated[Mapping[str, float], msgspec.Meta(max_length=100)]


class SourceRead(msgspec.Struct, frozen=True, kw_only=True):
    """One data set as it was read: its name, the format that was recognized, and what it gave.

    `records` are those of the file, `rows` the rated answers in them (two of a pair), times `weight`.
    `unread` are columns that nothing was read from: the first dozen, then how many more there are.
    """

    name: Line
    format: Line
    records: Count
    rows: Count
    weight: float = 1.0
    unread: Annotated[tuple[Line, ...], msgspec.Meta(max_length=100)] = ()


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something about the rows that the user should know. `rows` have it; `examples` name a few of them."""

    kind: Line
    severity: Literal["info", "warning", "error"]
    message: Line
    advice: Line = ""
    rows: Count = 0
    examples: Annotated[tuple[Line, ...], msgspec.Meta(max_length=10)] = ()


class Bin(msgspec.Struct, frozen=True, kw_only=True):
    """A bar of the histogram of lengths: rows of more tokens than the bar before and at most `tokens`."""

    tokens: Count
    rows: Count


class DataReport(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. Token figures are of whole rows before truncation, and empty where nothing was tokenized.

    `desirable` and `undesirable` are the rows that can be trained on; `dropped` counts the others by reason.
    `weights` are those of the loss, (desirable, undesirable). Percentiles are keyed p5, p50, p95, p99, max.
    """

    sources: Annotated[tuple[SourceRead, ...], msgspec.Meta(max_length=1000)] = ()
    desirable: Count = 0
    undesirable: Count = 0
    weights: tuple[float, float] | None = None
    max_length: Count = 0
    truncated: Count = 0
    dropped: Annotated[Mapping[str, Count], msgspec.Meta(max_length=100)] = {}
    prompt_tokens: Figures = {}
    completion_tokens: Figures = {}
    histogram: Annotated[tuple[Bin, ...], msgspec.Meta(max_length=100)] = ()
    findings: Annotated[tuple[Finding, ...], msgspec.Meta(max_length=100)] = ()
