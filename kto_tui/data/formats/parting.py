"""Where the prompt of two answers ends and the answers begin, if they hold more than themselves."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kto_tui.core.errors import UserError
from kto_tui.data.formats.base import TiedError
from kto_tui.data.formats.checks import require_assistant, require_text
from kto_tui.data.formats.messages import split_system
from kto_tui.data.rows import Message
from kto_tui.data.wording import shown

TURN = "\n\nAssistant:"  # How Anthropic's HH files mark where the model speaks.
_SPEAKS = TURN.strip()


def is_whole(messages: list[Message]) -> bool:
    """Whether it is a conversation, and no answer alone."""
    return len(messages) > 1 and messages[0]["role"] != "assistant"


def ends_with(messages: list[Message], end: list[Message]) -> bool:
    """Whether the one list is the end of the other."""
    return len(end) <= len(messages) and messages[len(messages) - len(end) :] == end


def stands_in(text: str, messages: Iterable[Any]) -> bool:
    """Whether one of the messages, as written or as read, holds that text, whatever the spaces in it."""
    said = [item.get("content", item.get("value")) for item in messages if isinstance(item, Mapping)]
    texts = [content for content in said if isinstance(content, str)]
    if any(text.strip() in content for content in texts):
        return True
    words = " ".join(text.split())
    return any(words in " ".join(content.split()) for content in texts)


def require_held(text: str, messages: list[Message], column: str, where: str) -> None:
    """Refuse a prompt that a conversation does not hold."""
    if not stands_in(text, messages):
        raise UserError(
            f'{where}: "{column}" is {shown(text)}, which is not in the conversation beside it; expected the'
            " same prompt, or the answers alone"
        )


def longer(
    asked: list[Message], prompt: list[Message], column: str, names: tuple[str, str], where: str
) -> list[Message]:
    """The longer of both, if one is the end of the other: answers may repeat but the last question."""
    (outer, before), (inner, said) = split_system(asked), split_system(prompt)
    if not (outer and inner and outer != inner):
        if ends_with(before, said):
            return [*(inner or outer), *before]
        if ends_with(said, before):
            return [*(inner or outer), *said]
    raise UserError(
        f'{where}: the conversation that "{names[0]}" and "{names[1]}" begin with is not that of "{column}";'
        " expected the same messages, or the answers alone"
    )


def beginning(
    whole: list[Message], other: list[Message], names: tuple[str, str], where: str
) -> tuple[list[Message], list[Message]]:
    """Prompt and answer of a conversation whose prompt the other answer has, too."""
    for messages, name in zip((whole, other), names, strict=True):
        require_assistant(messages, name, where)
    prompt, answer = whole[:-1], whole[-1:]
    if prompt[-1]["role"] != "user":
        raise UserError(
            f'{where}: "{names[0]}" holds a whole conversation and "{names[1]}" an answer alone, and the'
            " answer in the former is of several messages; write both as conversations, or as answers"
        )
    require_text(prompt, f'the prompt in "{names[0]}"', where)
    require_text(answer, f'the answer in "{names[0]}"', where)
    return prompt, answer


def without_turns(answer: str, prompt: str) -> str:
    """The answer alone, where it repeats the turns of its prompt in the notation of HH."""
    if answer[:1] != prompt[:1] or not (turns := prompt.rstrip()).endswith(_SPEAKS):
        return answer
    return answer.removeprefix(turns)


def common_text(better: str, worse: str, names: tuple[str, str], where: str) -> tuple[str, str, str]:
    """Prompt and both answers. The answers begin at the spaces before the first word that differs.

    Other white space stays with the prompt, as TRL's extract_prompt has it.
    """
    if better == worse:
        raise TiedError(f"{where}: the better and the worse answer are the same")
    common = better[: _alike(better, worse)]
    turn = common.rfind(TURN)
    if turn >= 0:
        end = turn + len(TURN)
    else:
        end = len(common)
        while end and not common[end - 1].isspace():
            end -= 1
        while end and common[end - 1] == " ":
            end -= 1
    prompt, chosen, rejected = better[:end], better[end:], worse[end:]
    if not prompt.strip():
        raise UserError(
            f'{where}: "{names[0]}" and "{names[1]}" do not begin alike, and there is no prompt;'
            " expected their common beginning (choose a column with --prompt-column)"
        )
    require_text(prompt, "the prompt of both answers", where)
    for name, value in zip(names, (chosen, rejected), strict=True):
        require_text(value, f'the answer in "{name}"', where)
    return prompt, chosen, rejected


def common_messages(
    better: list[Message], worse: list[Message], names: tuple[str, str], where: str
) -> tuple[list[Message], list[Message], list[Message]]:
    """Prompt and both answers: the prompt is what both begin with, but for the last messages."""
    if better == worse:
        raise TiedError(f"{where}: the better and the worse answer are the same")
    length = _alike(better[:-1], worse[:-1])
    chosen, rejected = better[length:], worse[length:]
    odd = next((said[0]["role"] for said in (chosen, rejected) if said[0]["role"] != "assistant"), None)
    if not length or odd is not None:
        found = "and there is no prompt" if odd is None else f"and differ in a message of role {shown(odd)}"
        advice = " (choose a column with --prompt-column)" if odd is None else ""
        raise UserError(
            f'{where}: "{names[0]}" and "{names[1]}" do not begin alike, {found};'
            f" expected the same messages up to the answers{advice}"
        )
    require_text(better[:length], "the prompt of both answers", where)
    for name, answer in zip(names, (chosen, rejected), strict=True):
        require_assistant(answer, name, where)
        require_text(answer, f'the answer in "{name}"', where)
    return better[:length], chosen, rejected


def _alike(left: Sequence[Any], right: Sequence[Any]) -> int:
    """How many items both begin with. Halving, since long texts are compared fastest as a whole."""
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if left[low:middle] == right[low:middle] else (low, middle - 1)
    return low
