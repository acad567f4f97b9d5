"""Columns that rows have no place for, since the first rows are empty there: why, and what to do."""

from collections.abc import Iterable

from kto_tui.core.errors import UserError
from kto_tui.data.formats.base import Format, Record, look_up
from kto_tui.data.formats.before import BESIDE_PROMPTS, INPUT, holds_input
from kto_tui.data.formats.checks import refuse_beside, require_text
from kto_tui.data.formats.messages import from_text, in_text, looks_like_messages
from kto_tui.data.formats.names import CHATS, FUNCTIONS, HISTORIES, JOINED, MEDIA, PROMPTS, TEMPLATE_OPTIONS
from kto_tui.data.formats.tools import are_tools

ALL_OR_NONE = "write all of them as messages, or none"
# Where all rows are text, what only a conversation has a place for.
TEXT_ALONE = dict.fromkeys(
    (*BESIDE_PROMPTS, "tools", FUNCTIONS, TEMPLATE_OPTIONS),
    "belongs to a conversation, and the first rows are text; write the prompts as messages",
)
# Where messages hold the turns before the answer: other turns may be those, or not.
WHOLE_TALK = dict.fromkeys(
    HISTORIES,
    "belongs to the conversation, and the first rows have none; write the earlier turns among the messages",
)
# Where both answers begin with the prompt.
NO_PROMPT = dict.fromkeys(
    (*CHATS, *PROMPTS),
    "belongs to the prompt, and the first rows have none; fill that column in all rows, or in none",
)
_INPUT = {
    INPUT: "belongs to the prompt, and the first rows have none; put a row that has one first, so that it is"
    " joined to the prompt"
}


def late_input(prompt: str, *, join: bool) -> dict[str, str]:
    """An `input` that the first rows have not, if it would belong to the prompt in that column."""
    return _INPUT if not join and prompt in ("prompt", *JOINED) else {}


def knows(known: Format, name: str, record: Record, prompt: str | None) -> bool:
    """Whether people know that a late column is not read; of an input, that the prompt holds it already."""
    if name == FUNCTIONS and not are_tools(record[name]):
        return True  # What else is called so is about the record.
    asked = in_text(look_up(record, prompt)) if name == INPUT and prompt is not None else None
    return holds_input(asked, record[INPUT]) if isinstance(asked, str) else name in known.unread


def refuse_media(record: Record, where: str) -> None:
    """Refuse text that shows the model more than text."""
    if media := {name: record[name] for name in MEDIA if name in record}:
        refuse_beside(media, where)


def refuse_talk(record: Record, names: Iterable[str], where: str) -> None:
    """Refuse messages where the first rows are text alone."""
    for name in names:
        if isinstance(value := look_up(record, name), (list, dict)) and value:
            raise UserError(f'{where}: "{name}" holds messages, and the first rows plain text; {ALL_OR_NONE}')


def require_plain(prompt: str, column: str, where: str) -> None:
    """Refuse a prompt that is empty, or messages among those of text: the first rows are no chats."""
    if looks_like_messages(prompt):
        from_text(prompt, column, where)
        raise UserError(
            f'{where}: "{column}" holds messages as JSON text, and the first rows plain text; {ALL_OR_NONE}'
        )
    require_text(prompt, f'"{column}"', where)
