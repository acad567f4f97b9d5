"""The same content in .jsonl, .csv and .parquet gives the same rows, with all text once, or told of."""

import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kto_tui.core.errors import UserError
from kto_tui.data.rows import Row
from tests.data.formats.reading import assistant, opened, user, written

ROWS = 22  # More than a format is told from.
WHEN = {
    "all": range(ROWS),
    "some": range(0, ROWS, 3),
    "one": range(5, 6),
    "late": range(20, ROWS),
    "never": range(0),
}
FORMS = [
    ("prompt", "completion", "label"),
    ("asked", "said", "label"),
    ("whole", "label"),
    ("asks", "response", "rating"),
    ("instruction", "output", "kto_tag"),
    ("query", "response", "label"),
    ("question", "completion", "label"),
    ("question", "answer", "rating"),
    ("prompt", "chosen", "rejected"),
    ("prompt", "better", "worse"),
    ("better", "worse"),
    ("query", "response", "rejected_response"),
    ("whole", "rejected_response"),
    ("input", "preferred_output", "non_preferred_output"),
]
# Columns whose names are not those above, and what stands in them.
NAMED = {
    "asked": "prompt",
    "said": "completion",
    "whole": "messages",
    "asks": "messages",
    "better": "chosen",
    "worse": "rejected",
}
BESIDE = st.dictionaries(
    st.sampled_from(
        [
            *("system", "system_prompt", "history", "chat_history", "input", "tools", "messages", "prompt"),
            "functions",
            *("instruction", "question", "response", "chosen", "rejected", "rejected_response"),
        ]
    ),
    st.sampled_from(sorted(WHEN)),
    max_size=3,
)


def value(form: tuple[str, ...], part: str, number: int) -> Any:
    """What stands in a column of the format itself; `ask`, `ans` and `wor` are found again in the rows."""
    ask, answer, worse = (f"{text}{number}." for text in ("ask", "ans", "wor"))
    if part in ("label", "rating", "kto_tag"):
        return number % 2 == 0
    if part in ("whole", "better"):
        return [user(ask), assistant(answer)]
    if part in ("rejected", "rejected_response"):
        return worse
    return {
        "asked": [user(ask)],
        "asks": [user(ask)],
        "said": [assistant(answer)],
        "worse": [user(ask), assistant(worse)],
        "input": {"messages": [user(ask)]},
        "preferred_output": [assistant(answer)],
        "non_preferred_output": [assistant(worse)],
    }.get(part, ask if part == form[0] else answer)


def more(name: str, number: int) -> Any:
    text = f"~{name}{number}."
    if name in ("history", "chat_history"):
        return [[text, "old"]]
    if name in ("tools", "functions"):
        return [{"name": text, "parameters": {"type": "object"}}]
    return [user(text)] if name == "messages" else text


def content(form: tuple[str, ...], beside: dict[str, str], nothing: Any) -> list[dict[str, Any]]:
    records = []
    for number in range(ROWS):
        record = {NAMED.get(part, part): value(form, part, number) for part in form}
        for name, when in beside.items():
            filled = more(name, number)
            empty = nothing if nothing is None or isinstance(filled, str) else []
            record.setdefault(name, filled if number in WHEN[when] else empty)
        records.append(record)
    return records


def outcome(path: Path) -> tuple[dict[str, list[Row]], set[str], tuple[str, ...]]:
    """The rows by their record, the records that are bad, and the columns that are known to be unread."""
    bad: list[UserError] = []
    rows: dict[str, list[Row]] = {}
    try:
        source = opened(path)
        for row in source.rows(bad.append):
            rows.setdefault(row.where.rpartition(", ")[2], []).append(row)
    except UserError as error:
        return {}, {str(error).removeprefix(str(path))}, ()
    return rows, {str(error).partition(":")[0].rpartition(", ")[2] for error in bad}, source.format.unread


def trained_on(rows: dict[str, list[Row]]) -> dict[str, Any]:
    return {place: [(r.prompt, r.completion, r.label, r.tools) for r in of] for place, of in rows.items()}


def said(rows: list[Row]) -> str:
    """All text of a record's rows, the prompt that both share once."""
    return json.dumps([rows[0].prompt, rows[0].tools, [row.completion for row in rows]])


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(FORMS), BESIDE, st.sampled_from([None, "", " "]))
def test_the_same_content_gives_the_same_rows(
    tmp_path: Path, form: tuple[str, ...], beside: dict[str, str], nothing: Any
) -> None:
    records = content(form, beside, nothing)
    rows, bad, unread = outcome(written(tmp_path, records))
    for name in ("rated.csv", "rated.parquet"):
        others, other_bad, other_unread = outcome(written(tmp_path, records, name))
        assert (other_bad, set(other_unread)) == (bad, set(unread))
        assert trained_on(others) == trained_on(rows)
    for place, of in rows.items():
        number = int(place.removeprefix("row ")) - 1
        for name, cell in records[number].items():
            text = f"~{name}{number}."
            if name not in unread and text in json.dumps(cell):
                assert said(of).count(text) == 1, (name, place)
        # A question may stand where another column wins, and is then known to be unread.
        assert said(of).count(f"ask{number}.") == 1 or any(NAMED.get(part, part) in unread for part in form)
