"""Whatever stands in a file: rows, or one clear line."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kto_tui.core.errors import UserError
from kto_tui.data.formats import recognize
from kto_tui.data.rows import Columns, Row

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["user", "assistant", "human", "gpt", "function_call", "yes", "4/5", "\ud800", "a\0"])
    | st.sampled_from(['[{"role": "user", "content": "a"}]', "[{'role': 'user'}]", '{"from": "gpt"}'])
    | st.sampled_from(["message", "reasoning", "function_call_output", "thinking", "tool_use", "tool_result"])
)  # fmt: skip
KEYS = st.sampled_from(
    [
        *("prompt", "completion", "label", "chosen", "rejected", "messages", "conversations", "kto_tag"),
        *("instruction", "input", "output", "history", "system", "tools", "query", "response", "images"),
        *("rejected_response", "preferred_output", "non_preferred_output", "output_A", "output_B", "type"),
        *(
            "role",
            "content",
            "from",
            "value",
            "tool_calls",
            "function",
            "name",
            "arguments",
            "text",
            "kwargs",
        ),
        *("fields", "responses", "q.responses", "q.responses.status", "user_id", "status", "values", "id"),
        *(
            "data",
            "annotations",
            "result",
            "from_name",
            "was_cancelled",
            "choices",
            "annotation_id",
            "lead_time",
        ),
        *(
            "inputs",
            "outputs",
            "scores",
            "feedback",
            "payload",
            "feedback_type",
            "feedback_stats",
            "avg",
            "score",
        ),
        *("rating", "inputs.x", "summary.weave.feedback.payload.emoji", "human", "assistant", "args"),
        *(
            "summary",
            "call_id",
            "encrypted_content",
            "refusal",
            "tool_use_id",
            "chosen_response",
            "conversation",
        ),
        *("question", "answer", "chat_history", "system_prompt", "chat_template_kwargs", "to_name", "model"),
    ]
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=16,
)
RECORDS = st.lists(st.dictionaries(KEYS, JSON, max_size=9) | JSON, min_size=1, max_size=3)
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "tool"]) | JSON, "content": SCALARS | JSON},
    optional={"tool_calls": JSON, "thinking": JSON, "name": JSON},
)
PART = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "thinking", "tool_use", "tool_result"])},
    optional=dict.fromkeys(("text", "thinking", "name", "input", "tool_use_id", "content"), JSON),
)
ITEM = st.fixed_dictionaries(
    {"type": st.sampled_from(["message", "reasoning", "function_call", "function_call_output"])},
    optional=dict.fromkeys(("content", "summary", "name", "arguments", "call_id", "output"), JSON),
)
BLOCKS = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant"]), "content": st.lists(PART, min_size=1, max_size=3)}
)
TALK = st.lists(MESSAGE | ITEM | BLOCKS | JSON, max_size=3) | JSON
# Each a record that is recognized, with something odd in one place or another.
SHAPED = st.one_of(
    *(
        st.fixed_dictionaries(
            dict.fromkeys(names, TALK),
            optional=dict.fromkeys(("system", "tools", "history", "chat_history"), JSON),
        )
        for names in (
            ("prompt", "completion", "label"),
            ("messages", "label"),
            ("conversations", "kto_tag"),
            ("instruction", "input", "output", "kto_tag"),
            ("prompt", "chosen", "rejected"),
            ("chosen", "rejected"),
            ("prompt", "chosen_response", "rejected_response"),
            ("messages", "response", "rating"),
            ("messages", "rejected_response"),
            ("input", "preferred_output", "non_preferred_output"),
            ("prompt", "output_A", "output_B", "label"),
            ("input", "output", "scores"),
            ("inputs", "outputs", "feedback"),
            ("prompt", "response", "q.responses", "q.responses.status"),
            ("data", "annotations", "prompt"),
            ("question", "answer", "rating"),
        )
    )
)
COLUMNS = st.builds(
    Columns,
    prompt=st.sampled_from(["prompt", "input.text", "id"]),
    completion=st.sampled_from(["completion", "output", "response"]),
    label=st.sampled_from(["label", "rating", "q.suggestion"]),
    desirable_at_least=st.none() | st.just(4.0),
)


def check(records: list[Any], columns: Columns) -> int:
    """How many rows there are; whatever is wrong is said in one short line."""
    count = 0
    try:
        known = recognize(records, columns, "a.json")
    except UserError as error:
        clear(error)
        return 0
    for number, record in enumerate(records, 1):
        try:
            rows = known.rows(record, f"a.json, row {number}")
        except UserError as error:
            clear(error)
            continue
        assert 1 <= len(rows) <= 2
        for row in rows:
            whole(row)
        count += len(rows)
    return count


def clear(error: UserError) -> None:
    message = str(error)
    assert message.startswith("a.json")
    assert message.isprintable()
    assert len(message) < 1000


def whole(row: Row) -> None:
    assert isinstance(row.label, bool)
    assert isinstance(row.prompt, str) == isinstance(row.completion, str)
    for part in (row.prompt, row.completion):
        assert part
        if not isinstance(part, str):
            assert all(
                isinstance(message["role"], str) and isinstance(message["content"], str) for message in part
            )
        json.dumps([part, row.tools], ensure_ascii=False).encode()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(RECORDS, COLUMNS)
def test_any_json(records: list[Any], columns: Columns) -> None:
    check(records, columns)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(SHAPED, min_size=1, max_size=2), COLUMNS)
def test_nearly_right_records(records: list[Any], columns: Columns) -> None:
    check(records, columns)


@pytest.mark.parametrize("kind", ["prompt", "messages"])
def test_the_check_sees_good_records(kind: str) -> None:
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    good = {"messages": talk} if kind == "messages" else {"prompt": talk[:1], "completion": talk[1:]}
    assert check([{**good, "label": True}] * 2, Columns()) == 2


def test_no_path_is_needed(tmp_path: Path) -> None:
    """Records may come from anywhere: the format knows their source by name alone."""
    assert recognize([], Columns(), "x").name == "TRL unpaired"
