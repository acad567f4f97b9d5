"""What the exports of rating tools share: which fields are prompt and answer, and which rating counts."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from kto_tui.core.errors import UserError
from kto_tui.data.formats.base import MISSING, Record, look_up
from kto_tui.data.formats.checks import require_assistant
from kto_tui.data.formats.messages import assistant, read_messages, split_answer, user, with_system
from kto_tui.data.formats.tools import parsed
from kto_tui.data.formats.unpaired import text_or_messages
from kto_tui.data.rows import Columns, Message
from kto_tui.data.wording import listed

CHATS = ("messages", "conversation", "conversations", "chat", "dialogue")
PROMPTS = ("prompt", "instruction", "question", "query", "input", "user_input", "user_message")
ANSWERS = ("completion", "response", "answer", "output", "generation", "model_response", "model_output")
RATINGS = (
    *("label", "kto_tag", "rating", "feedback", "user-feedback", "user_feedback", "user_score", "thumbs"),
    *("thumb", "thumbs_up", "vote", "reaction", "score"),
)


def chosen_rating(names: Iterable[str], columns: Columns, source: str) -> str | None:
    """Which of several ratings counts: the user's, the only one, or the only one of a usual name.

    None if there are no ratings among the first records. Raises UserError if it cannot be told.
    """
    found = list(dict.fromkeys(names))
    if columns.names_label:
        return columns.label
    usual = [name for name in RATINGS if name in found]
    if columns.label in found:
        return columns.label
    if len(found) == 1 or len(usual) == 1:
        return (found if len(found) == 1 else usual)[0]
    if not found:
        return None
    raise UserError(f"{source}: found the ratings {listed(found)}; choose one with --label-column")


@dataclass(frozen=True)
class Exchange:
    """Where in the fields of a record prompt and answer stand; without `answer`, the chat's last message."""

    prompt: str
    answer: str | None

    @classmethod
    def among(cls, fields: Iterable[str], columns: Columns, source: str) -> "Exchange":
        """By the user's names, or the usual ones. Raises UserError that lists the fields."""
        names = list(dict.fromkeys(fields))
        prompt = _one(names, columns.prompt, (columns.prompt, *PROMPTS), columns.prompt != "prompt")
        given = columns.completion != "completion"
        answer = _one(names, columns.completion, (columns.completion, *ANSWERS), given)
        chat = next((name for name in CHATS if name in names), None)
        if prompt and answer:
            return cls(prompt, answer)
        if chat:
            return cls(chat, answer)
        missing = "--prompt-column" if answer else "--completion-column"
        what = "prompt" if answer else "answer"
        raise UserError(f"{source}: found the fields {listed(names)}; choose the {what} with {missing}")

    def read(self, fields: Record, where: str) -> tuple[list[Message], list[Message]]:
        """Prompt and answer as messages."""
        value = self._value(fields, self.prompt, "--prompt-column", where)
        system = fields.get("system")
        if self.answer is None:
            prompt, answer = split_answer(read_messages(value, self.prompt, where), self.prompt, where)
            return with_system(prompt, system, where), answer
        prompt = with_system(text_or_messages(_chat(value), self.prompt, user, where), system, where)
        said = self._value(fields, self.answer, "--completion-column", where)
        answer = text_or_messages(_chat(said), self.answer, assistant, where)
        require_assistant(answer, self.answer, where)
        return prompt, answer

    @staticmethod
    def _value(fields: Record, name: str, option: str, where: str) -> Any:
        value = look_up(fields, name)
        if value is MISSING:
            raise UserError(f'{where}: no field "{name}"; found {listed(fields)} (choose one with {option})')
        return value


def _one(names: list[str], given: str, usual: tuple[str, ...], chosen: bool) -> str | None:
    return given if chosen else next((name for name in usual if name in names), None)


def _chat(value: Any) -> Any:
    """Messages that were saved as JSON text; other text as it is."""
    found = parsed(value)
    is_chat = isinstance(found, list) and found and all(isinstance(item, dict) for item in found)
    return found if is_chat and any(key in found[0] for key in ("role", "from")) else value
