"""What rows hold and the model never sees, since its chat template has no place for it."""

from typing import Any

from jinja2.exceptions import TemplateError
from transformers import PreTrainedTokenizerBase

from kto_tui.core.datareport import Finding
from kto_tui.data import Row
from kto_tui.data.survey import RowSurvey
from kto_tui.data.survey.extras import CALLS, REASONING, TOOLS, without
from kto_tui.data.survey.findings import share
from kto_tui.data.survey.survey import EXAMPLES

_ADVICE = "choose a model, or a --chat-template, that has a place for it, or write it into the content"


def left_out(survey: RowSurvey, tokenizer: PreTrainedTokenizerBase) -> list[Finding]:
    """Tools, calls and reasoning that leave the text as it is: told by one row of each data set.

    Answers that only call tools say nothing then, and the survey counts them as empty.
    """
    extras, found = survey.extras, []
    for kind in (TOOLS, CALLS, REASONING):
        unseen = [source for (what, source), row in extras.first.items() if what == kind]
        unseen = [source for source in unseen if not _is_seen(extras.first[kind, source], kind, tokenizer)]
        if not unseen:
            continue
        if kind == CALLS:
            survey.say_nothing(survey.of_sources(extras.only_calls, unseen))
        rows = survey.here(survey.of_sources(extras.rows(kind), unseen))
        if len(rows):
            found.append(_finding(survey, kind, rows.tolist()))
    return found


def _finding(survey: RowSurvey, kind: str, rows: list[int]) -> Finding:
    return Finding(
        kind="not_in_template",
        severity="warning",
        message=f"the model's chat template leaves out {kind}: {share(len(rows), len(survey))}",
        advice=_ADVICE,
        rows=len(rows),
        examples=tuple(survey.where(row) for row in rows[:EXAMPLES]),
    )


def _is_seen(row: Row, kind: str, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the row reads otherwise without it."""
    try:
        return _text(row, tokenizer) != _text(without(row, kind), tokenizer)
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError):
        return True  # The row was tokenized, so it is what is missing that the template fails on.


def _text(row: Row, tokenizer: PreTrainedTokenizerBase) -> str:
    if isinstance(row.prompt, str) or isinstance(row.completion, str):
        return f"{row.prompt}{row.completion}"
    messages = [*row.prompt, *row.completion]
    tools: list[Any] | None = row.tools or None
    return str(tokenizer.apply_chat_template(messages, tools=tools, tokenize=False))
