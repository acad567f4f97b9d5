"""Conversations in the columns of a record: lists of messages, their JSON text, or one text."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kto_tui.core.errors import UserError
from kto_tui.data.formats.base import Record, parsed
from kto_tui.data.formats.base import is_filled as is_filled
from kto_tui.data.formats.blocks import is_item, without_items
from kto_tui.data.formats.checks import require_assistant, require_text
from kto_tui.data.formats.names import CHATS, HISTORIES, MESSAGE_KEYS, SYSTEMS
from kto_tui.data.formats.one_message import (
    CALLS,
    ROLES,
    does_without,
    is_plain,
    known_role,
    read_one,
    sharegpt,
)
from kto_tui.data.rows import Message
from kto_tui.data.wording import shown

_KEY = "'(?:role|from|content|value)'"
_PYTHON = re.compile(rf"\s*(?:array\(\s*)?\[\s*\{{\s*{_KEY}\s*:.*,\s*{_KEY}\s*:", re.DOTALL)
# What messages in JSON text begin with, where they can be nothing else.
_BEGUN = re.compile(r'\s*(?:\[\s*(?:\{|$)|\{\s*"(?:role|from)"\s*:)')
_BLOCKS_BEGUN = re.compile(r'\s*\[\s*\{\s*"type"\s*:\s*"text"')
SYSTEM_ROLES = ("system", "developer")


@dataclass(frozen=True)
class Texts:
    """How the text in a source's columns is taken, told from its first rows; see looking.Look.texts.

    `literal`: never messages. `chats`: messages in JSON, or else text that does not begin like them.
    """

    literal: frozenset[str] = frozenset()
    chats: frozenset[str] = frozenset()

    def messages(self, value: Any, column: str, said: Callable[[str], Message], where: str) -> list[Message]:
        """The messages in a cell of that column."""
        chats, literal = column in self.chats, column in self.literal
        return text_or_messages(value, column, said, where, literal=literal, chats=chats)


def user(content: str) -> Message:
    """A message of the user."""
    return {"role": "user", "content": content}


def assistant(content: str) -> Message:
    """A message of the model."""
    return {"role": "assistant", "content": content}


def from_text(value: Any, column: str, where: str, *, chats: bool = False, alone: str = "") -> Any:
    """Messages that were saved as JSON text, as tables hold them; anything else as it is.

    Raises UserError for messages as Python prints them, which pandas writes into a .csv, and in a column of
    `chats` for text that begins like messages and is none. `alone`: see in_text.
    """
    found = in_text(value, alone=alone, any_role=chats)
    if not isinstance(found, str):
        return found
    if _PYTHON.match(found):
        raise UserError(
            f'{where}: "{column}" holds messages as Python prints them; expected JSON'
            " (save the data set as .jsonl or .parquet)"
        )
    if chats and _BEGUN.match(found) and is_filled(found):
        raise UserError(
            f'{where}: "{column}" begins like messages in JSON and is none (cut short?): {shown(found)};'
            " expected a list of objects with role and content"
        )
    return found


def in_text(value: Any, *, alone: str = "", any_role: bool = False) -> Any:
    """The same, without a word on what is wrong.

    One object alone may be what was asked for, a JSON answer with a role: it is a message only if nothing
    else is in it, and it is of the role `alone`. So may be a list with roles that nobody knows, but where
    `any_role` is one.
    """
    found = parsed(value)
    if found is value:
        return value
    if isinstance(found, list):
        return found if found and all(_is_message(item, any_role) for item in found) else value
    return [found] if alone and _is_alone(found, alone) else value


def looks_like_messages(text: str, alone: str = "") -> bool:
    """Whether a text is messages as JSON or as Python writes them."""
    return in_text(text, alone=alone) is not text or _PYTHON.match(text) is not None


def _is_alone(item: Mapping[str, Any], role: str) -> bool:
    speaker, said = item.get("role", item.get("from")), item.get("content", item.get("value"))
    if not isinstance(speaker, str) or any(
        name not in MESSAGE_KEYS and is_filled(part) for name, part in item.items()
    ):
        return False
    if speaker in CALLS:
        return role == "assistant" and "value" in item
    return known_role(speaker) == role and (isinstance(said, str) or does_without(item))


def _is_message(item: Any, any_role: bool) -> bool:
    if not isinstance(item, Mapping):
        return False
    speaker = item.get("role", item.get("from"))
    if speaker is None:
        return is_item(item) or _is_of_type(item) or _is_turn(item)
    if not isinstance(speaker, str):
        return False
    if not (any_role or known_role(speaker) or speaker in CALLS):
        return False
    return not {"content", "tool_calls"}.isdisjoint(item) if "role" in item else "value" in item


def _is_of_type(item: Mapping[str, Any]) -> bool:
    """Whether it is a message of LangChain."""
    if isinstance(item.get("kwargs"), Mapping):
        return isinstance(item.get("id"), list) and "content" in item["kwargs"]
    kind = item.get("type")
    return isinstance(kind, str) and kind in ROLES and "content" in item


def _is_turn(item: Mapping[str, Any]) -> bool:
    """Whether it is a question and its answer, as ms-swift has them."""
    return set(item) == {"human", "assistant"} and all(isinstance(said, str) for said in item.values())


def read_messages(value: Any, column: str, where: str, wanted: str = "a list of messages") -> list[Message]:
    """The messages of a column; JSON text is taken as what it says. Raises UserError."""
    if not isinstance(value, list):
        value = _listed(parsed(from_text(value, column, where)))
    if not isinstance(value, list) or not value:
        raise UserError(f'{where}: "{column}" is {shown(value)}; expected {wanted}')

    def place(number: int) -> Callable[[], str]:
        return lambda: f'{where}, message {number} of "{column}"'

    messages: list[Message] = []
    for number, item in enumerate(value, 1):
        if is_plain(item):
            messages.append(item)
        elif (message := sharegpt(item)) is not None:
            messages.append(message)
        elif is_item(item):
            return read_messages(without_items(value, place), column, where, wanted)
        else:
            messages += read_one(item, place(number))
    return messages


def split_answer(messages: list[Message], column: str, where: str) -> tuple[list[Message], list[Message]]:
    """What was said before, and the last message: the rated answer."""
    require_assistant(messages, column, where)
    if len(messages) == 1:
        raise UserError(f'{where}: "{column}" holds the answer alone; expected its prompt before it')
    prompt, completion = messages[:-1], messages[-1:]
    require_text(prompt, f'the prompt in "{column}"', where)
    require_text(completion, f'the answer in "{column}"', where)
    return prompt, completion


def text_or_messages(
    value: Any,
    column: str,
    said: Callable[[str], Message],
    where: str,
    *,
    literal: bool = False,
    chats: bool = False,
) -> list[Message]:
    """Messages, also those in JSON text; other text becomes the one message of `said`.

    All text, also that of JSON, is what was said if it is `literal`; see Texts for this and `chats`.
    """
    if isinstance(value, str) and not literal:
        value = from_text(value, column, where, chats=chats, alone=said("")["role"] if chats else "")
    if isinstance(value, str):
        messages = [said("" if (chats or column in CHATS) and not is_filled(value) else value)]
    elif isinstance(value, list) and value and isinstance(value[0], str):
        raise UserError(f'{where}: "{column}" is a list of text; expected one text, or a list of messages')
    else:
        messages = read_messages(value, column, where, "text, or a list of messages")
    require_text(messages, f'"{column}"', where)
    return messages


def answer_alone(
    prompt: list[Message], answer: list[Message], column: str, where: str
) -> tuple[list[Message], list[Message]]:
    """Prompt and answer, where the answer's column may hold the whole conversation.

    A system prompt may stand in either. Raises UserError if that is of another prompt, or no answer.
    """
    require_assistant(answer, column, where)
    role = answer[0]["role"]
    if role == "assistant":
        return prompt, _without_prompt(prompt, answer, column, where)
    (outer, asked), (inner, whole) = split_system(prompt), split_system(answer)
    if asked and (not outer or not inner or outer == inner):
        begun = [*(outer or inner), *asked]
        if whole[: len(asked)] == asked:
            return begun, whole[len(asked) :]
        if whole[:1] == asked[-1:]:
            return begun, whole[1:]
    raise UserError(
        f'{where}: "{column}" begins with a message of role {shown(role)} that is not the prompt;'
        " expected the answer alone, or the conversation from the prompt on"
    )


def _without_prompt(prompt: list[Message], answer: list[Message], column: str, where: str) -> list[Message]:
    """An answer that begins with the model, without the prompt if that begins so, too: with a greeting."""
    if len(answer) == 1:
        return answer
    _, asked = split_system(prompt)
    if asked and answer[: len(asked)] == asked:
        return answer[len(asked) :]
    if next((message for message in answer if message["role"] == "user"), None) == prompt[-1]:
        raise UserError(
            f'{where}: "{column}" repeats the last question of the prompt after what the model said; expected'
            " the answer alone, or the conversation from the prompt on"
        )
    return answer


def split_system(messages: list[Message]) -> tuple[list[Message], list[Message]]:
    """The system prompt that messages begin with, if there is one, and the rest."""
    count = int(bool(messages) and messages[0]["role"] in SYSTEM_ROLES)
    return messages[:count], messages[count:]


def with_system(messages: list[Message], record: Record, where: str) -> list[Message]:
    """The system prompt in a column of the record put before, if the messages do not begin with it.

    Raises UserError if two columns, or a column and the messages, hold different ones.
    """
    name = only_filled(record, SYSTEMS, where)
    if name is None:
        return messages
    system = _system(record[name], name, where)
    if messages[0]["role"] in SYSTEM_ROLES:
        if messages[0]["content"].strip() != system.strip():
            raise UserError(
                f'{where}: "{name}" is another system prompt than the one that the messages begin with, and'
                " one of them is read; leave one out, or write them as one"
            )
        return messages
    message = {"role": "system", "content": system}
    require_text([message], f'"{name}"', where)
    return [message, *messages]


def only_filled(record: Record, names: tuple[str, ...], where: str) -> str | None:
    """The first of the columns that holds something. Raises UserError if a second one holds another thing."""
    filled = [name for name in names if name in record and is_filled(record[name])]
    for other in filled[1:]:
        if _stripped(record[other]) != _stripped(record[filled[0]]):
            raise UserError(
                f'{where}: "{filled[0]}" and "{other}" hold different things, and one of them is read;'
                " leave one empty, or write them as one"
            )
    return filled[0] if filled else None


def _stripped(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


def _system(value: Any, name: str, where: str) -> str:
    """Text, or a list of text blocks, each a paragraph: Anthropic's, and Bedrock's without a type."""
    blocks = parsed(value)
    if isinstance(blocks, list) and blocks and all(map(_is_text_block, blocks)):
        return "\n\n".join(block["text"] for block in blocks)
    if not isinstance(value, str) or _BLOCKS_BEGUN.match(value):
        raise UserError(f'{where}: "{name}" is {shown(value)}; expected text')
    return value


def _is_text_block(block: Any) -> bool:
    return (
        isinstance(block, Mapping)
        and block.get("type", "text") == "text"
        and isinstance(block.get("text"), str)
    )


def turns_before(record: Record, where: str) -> list[Message]:
    """What was said earlier, in a column of its own: messages, or pairs of question and answer."""
    name = only_filled(record, HISTORIES, where)
    if name is None:
        return []
    turns = parsed(from_text(record[name], name, where))
    if isinstance(turns, list) and turns and all(isinstance(turn, dict) for turn in turns):
        return read_messages(turns, name, where)
    messages: list[Message] = []
    for turn in turns if isinstance(turns, list) else [turns]:
        if not isinstance(turn, list) or len(turn) != 2 or not all(isinstance(said, str) for said in turn):
            raise UserError(
                f'{where}: "{name}" holds {shown(turn)}; expected pairs of text, question and answer,'
                " or a list of messages"
            )
        messages += [user(turn[0]), assistant(turn[1])]
    if messages:
        require_text(messages, f'"{name}"', where)
    return messages


def _listed(value: Any) -> Any:
    """One message alone, as LLaMA-Factory has answers, or messages by column, as a list of messages.

    By column: {"role": [...], "content": [...]}, as `datasets` gives a sequence of objects.
    """
    if not isinstance(value, Mapping) or not value:
        return value
    if isinstance(value.get("role", value.get("from")), str):
        return [value]
    if not all(isinstance(items, list) for items in value.values()):
        return value
    if len({len(items) for items in value.values()}) > 1:
        return value
    return [dict(zip(value, items, strict=True)) for items in zip(*value.values(), strict=True)]
