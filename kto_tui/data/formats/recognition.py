"""Which format a source is in, told from its first records."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kto_tui.core.errors import UserError, printable
from kto_tui.data.formats.argilla import recognize_argilla
from kto_tui.data.formats.base import MISSING, Format, Record, look_up, unread
from kto_tui.data.formats.label_studio import recognize_label_studio
from kto_tui.data.formats.messages import in_text
from kto_tui.data.formats.names import (
    ANSWERS,
    CHATS,
    HISTORIES,
    JOINED,
    MESSAGE_KEYS,
    PROMPTS,
    RATINGS,
    SYSTEMS,
    TEMPLATE_OPTIONS,
    is_about,
)
from kto_tui.data.formats.paired import (
    TURN,
    ChosenRejected,
    HalosPairwise,
    OpenAIPreference,
    RejectedResponse,
)
from kto_tui.data.formats.ratings import Judge, distinct
from kto_tui.data.formats.traces import recognize_traces
from kto_tui.data.formats.unpaired import INPUT, Conversation, Instruction, PromptCompletion
from kto_tui.data.rows import CONVERSATION, Columns
from kto_tui.data.wording import listed, shown

KNOWN = (
    "TRL, LLaMA-Factory, Axolotl, ms-swift, HALOs, OpenAI messages or preferences, Argilla, Label Studio,"
    " traces with a score"
)
_ANSWERS_OF_PAIRS = ("chosen", "rejected")


def recognize(records: Sequence[Any], columns: Columns, source: str) -> Format:
    """The format of the records, of which these are the first.

    Raises UserError that lists the columns found, the formats known, and the options that could help.
    """
    found = [record for record in records if isinstance(record, Mapping)]
    if records and not found:
        raise UserError(
            f"{source}, row 1: found {shown(records[0])}; expected an object with {_named(columns)}"
        )
    looked = _Look(found, columns, source)
    if not records:
        judge = looked.judge(columns.label)
        return PromptCompletion("TRL unpaired", judge, columns.prompt, columns.completion)
    for recognizer in (_export, _pair, _unpaired, _scored_trace, _plain_ratings, _trace):
        if (known := recognizer(looked)) is not None:
            _note_names(known, looked)
            if known.columns is not None:
                known.unread = unread(looked.records, known.columns - known.left) + _unread_keys(
                    known, looked
                )
            return known
    raise UserError(_unknown(looked))


def _note_names(known: Format, look: "_Look") -> None:
    """Refuse a column that the user named, that is there, and that this format does not read."""
    unused = []
    for option, name, default in look.columns.options():
        if name == default or name in known.uses:
            continue
        if look.has(name):
            raise UserError(
                f"{look.source}: {option} {printable(name)} is not used by the format {known.name},"
                f" which reads {listed(known.uses)}; leave that option, or those columns, out"
            )
        unused.append(option)
    known.unused = tuple(unused)


def _unread_keys(known: Format, look: "_Look") -> tuple[str, ...]:
    """Keys of messages that hold text and are not read, as messages[].KEY."""
    keys = dict.fromkeys(
        f"{column}[].{key}"
        for column in known.uses
        for value in look.values(column)
        if isinstance(messages := in_text(value), list)
        for message in messages
        if isinstance(message, Mapping)
        for key, item in message.items()
        if isinstance(item, str) and item and key not in MESSAGE_KEYS
    )
    return tuple(keys)


class _Look:
    """The first records, and the questions that recognizing asks of them."""

    def __init__(self, records: Sequence[Record], columns: Columns, source: str) -> None:
        self.records, self.columns, self.source = records, columns, source
        self.names = dict.fromkeys(name for record in records for name in record)

    def has(self, *names: str) -> bool:
        return all(
            name in self.names or any(look_up(record, name) is not MISSING for record in self.records)
            for name in names
        )

    def has_any(self, names: Iterable[str]) -> bool:
        return self.first(names) is not None

    def first(self, names: Iterable[str]) -> str | None:
        return next((name for name in names if name in self.names), None)

    def values(self, name: str) -> list[Any]:
        return [value for record in self.records if (value := look_up(record, name)) is not MISSING]

    def holds(self, name: str, *kinds: type) -> bool:
        """Whether a value is of the kind; messages in JSON text are a list."""
        return any(isinstance(in_text(value), kinds) for value in self.values(name))

    def filled(self, *names: str) -> bool:
        return any(record.get(name) not in (None, "", []) for record in self.records for name in names)

    @property
    def talk(self) -> str | None:
        """The column of the conversation: one that holds messages, or else one of a name that is for them."""
        holding = (name for name in CHATS if name in self.names and self.holds(name, list, dict))
        return next(holding, None) or self.first(CHATS[:3])

    def joins(self, prompt: str) -> bool:
        """Whether `input` belongs to the prompt of that column, which does not hold it already."""
        if prompt == INPUT or self.columns.completion == INPUT or not self.has(INPUT):
            return False
        if prompt in JOINED:
            return True  # Also where the first ones are empty, as most are in alpaca files.
        if not self.filled(INPUT):
            return False
        both = [(record.get(prompt), record[INPUT]) for record in self.records if record.get(INPUT)]
        held = [given in asked for asked, given in both if isinstance(asked, str) and isinstance(given, str)]
        return prompt == "prompt" and len(held) == len(both) and not all(held)

    @property
    def rating(self) -> str | None:
        """The column of the rating: the one named, or the only one of a usual name."""
        if self.has(self.columns.label) or self.columns.names_label:
            return self.columns.label
        usual = [name for name in RATINGS if name in self.names]
        if len(usual) > 1 and "kto_tag" not in usual:
            raise UserError(
                f"{self.source}: found the ratings {listed(usual)}; choose one with --label-column"
            )
        return "kto_tag" if "kto_tag" in usual else (usual[0] if usual else None)

    def judge(self, rating: str) -> Judge:
        return Judge.of(self.columns, rating, distinct(self.values(rating)), self.source)

    def named(self, name: str, rating: str) -> str:
        return name if rating in ("label", "kto_tag") else f"{name}, rated by {rating}"


def _export(look: _Look) -> Format | None:
    return recognize_argilla(look.records, look.columns, look.source) or recognize_label_studio(
        look.records, look.columns, look.source
    )


def _trace(look: _Look) -> Format | None:
    return recognize_traces(look.records, look.columns, look.source)


def _scored_trace(look: _Look) -> Format | None:
    known = _trace(look)
    if known is None or not known.settled:
        return None
    # A table with a rating, whose input belongs to an instruction: no trace has both.
    table = look.has(INPUT) and look.filled("prompt", *JOINED) and look.rating is not None
    return None if table and look.has(str(look.rating)) and not look.holds(INPUT, list, dict) else known


def _pair(look: _Look) -> Format | None:
    columns = look.columns
    if look.has(columns.prompt, columns.completion) and look.rating is not None:
        return None
    if look.has("preferred_output", "non_preferred_output"):
        return OpenAIPreference()
    if look.has("output_A", "output_B") and look.rating:
        return HalosPairwise(look.rating)
    rejected = look.first(("rejected_response", "rejected_messages"))
    column = look.talk or look.first(("query",))
    if rejected and column:
        return RejectedResponse("ms-swift pairs", column, rejected)
    if not look.has("chosen", "rejected"):
        return None
    return _chosen_rejected(look)


def _chosen_rejected(look: _Look) -> Format:
    talk = any(look.holds(name, list, dict) for name in ("chosen", "rejected"))
    prompt = _prompt_of_pairs(look)
    if prompt is None:
        if not talk and look.columns.prompt not in _ANSWERS_OF_PAIRS:
            _require_no_other_text(look)
        return _of_text(
            ChosenRejected(
                f"TRL paired, implicit prompt, {'conversational' if talk else 'text'}",
                None,
                late=() if look.columns.prompt in _ANSWERS_OF_PAIRS else (*CHATS, *PROMPTS),
            ),
            not talk,
        )
    named = prompt == look.columns.prompt != "prompt"
    joins = look.joins(prompt)
    if prompt == "instruction" or prompt in CHATS:
        return ChosenRejected("LLaMA-Factory pairs", prompt, chat=True, join=joins, named=named)
    chat = talk or joins or look.has_any(SYSTEMS) or look.filled(*HISTORIES) or look.holds(prompt, list)
    name = f"TRL paired, {'conversational' if chat else 'text'}"
    return _of_text(ChosenRejected(name, prompt, chat=chat, join=joins, named=named), not chat)


def _of_text(known: Format, text: bool) -> Format:
    """A format that has no place for what goes to a chat template, if its rows are text alone."""
    known.left = frozenset(("tools", TEMPLATE_OPTIONS)) if text else frozenset()
    return known


def _prompt_of_pairs(look: _Look) -> str | None:
    """The column of the prompt; None if both answers begin with it (--prompt-column chosen says so)."""
    named = look.columns.prompt
    if named in _ANSWERS_OF_PAIRS:
        return None
    if look.has(named):
        return named
    if (usual := look.first((*PROMPTS, "conversations"))) is not None:
        return usual
    return CONVERSATION if look.has(CONVERSATION) and not look.holds("chosen", list) else None


def _require_no_other_text(look: _Look) -> None:
    """Refuse to make up a prompt where another column may hold it."""
    if any(TURN in value for value in look.values("chosen") if isinstance(value, str)):
        return
    other = [
        name
        for name in look.names
        if name not in _ANSWERS_OF_PAIRS and not is_about(name) and any(map(_is_words, look.values(name)))
    ]
    if other:
        raise UserError(
            f"{look.source}: found {listed(other)} beside chosen and rejected; choose the prompt with"
            " --prompt-column, or --prompt-column chosen if both answers begin with it"
        )


def _is_words(value: Any) -> bool:
    """Whether it may be a prompt: in a .csv numbers are text too."""
    return (
        isinstance(value, str)
        and any(char.isalpha() for char in value)
        and value.lower() not in ("true", "false", "nan", "none", "null")
    )


def _unpaired(look: _Look) -> Format | None:
    rating = look.rating or ("reward" if _is_halos(look) and look.has("reward") else None)
    if rating is None:
        return None
    columns, talk = look.columns, look.talk
    whole = look.has(columns.prompt, columns.completion)
    nested = "." in columns.prompt + columns.completion
    if columns.names_answer and (nested or not (whole or talk)) and (traced := _scored_trace(look)):
        return traced
    if whole or (columns.names_answer and not talk):
        return _prompt_completion(look, rating, columns.prompt, columns.completion, "TRL unpaired")
    if talk:
        name = look.named(_conversation_name(talk, rating), rating)
        return Conversation(name, look.judge(rating), talk)
    if _is_halos(look):
        return _halos(look, rating)
    return _instruction(look, rating)


def _instruction(look: _Look, rating: str) -> Format | None:
    if look.has("instruction", "output"):
        name = "LLaMA-Factory alpaca" if rating == "kto_tag" else "alpaca"
        return Instruction(look.named(name, rating), look.judge(rating), "instruction", "output")
    if look.has("query", "response"):
        name = look.named("ms-swift query and response", rating)
        return Instruction(name, look.judge(rating), "query", "response")
    asked = look.first(("instruction", "question"))
    if asked and look.has("completion"):
        name = look.named(f"Axolotl KTO ({asked})", rating)
        return Instruction(name, look.judge(rating), asked, "completion")
    if look.holds("completion", list):
        name = look.named("Axolotl KTO, conversations", rating)
        return Conversation(name, look.judge(rating), "completion")
    return None


def _prompt_completion(look: _Look, rating: str, prompt: str, completion: str, name: str) -> Format:
    judge, joins = look.judge(rating), look.joins(prompt)
    if joins or look.filled(*HISTORIES):
        also = " and ".join([*([INPUT] if joins else []), *(["history"] if look.filled(*HISTORIES) else [])])
        return Instruction(look.named(f"{name}, with {also}", rating), judge, prompt, completion, join=joins)
    system = look.has_any(SYSTEMS)
    talk = system or look.holds(prompt, list) or look.holds(completion, list)
    if system and name == "TRL unpaired":
        name = "Axolotl KTO (system, prompt)"
    else:
        name = f"{name}, {'conversational' if talk else 'text'}"
    known = PromptCompletion(look.named(name, rating), judge, prompt, completion, system=system)
    return _of_text(known, not talk)


def _conversation_name(column: str, rating: str) -> str:
    if rating == "kto_tag":
        return "LLaMA-Factory sharegpt"
    return "messages (OpenAI, ms-swift)" if column == CONVERSATION else "sharegpt conversations"


def _is_halos(look: _Look) -> bool:
    kinds = look.values("type")
    return look.has("prompt", "output") and any(str(kind).endswith("_feedback") for kind in kinds)


def _halos(look: _Look, rating: str) -> Format:
    """With a threshold, the reward is judged anew; the label is what HALOs made of it."""
    if look.has("reward") and (
        look.columns.desirable_at_least is not None or not look.has(look.columns.label)
    ):
        rating = look.columns.label if look.columns.names_label else "reward"
    return PromptCompletion(
        look.named("HALOs feedback", rating), look.judge(rating), "prompt", "output", system=True
    )


def _plain_ratings(look: _Look) -> Format | None:
    prompt, answer, rating = look.first(PROMPTS), look.first(ANSWERS), look.rating
    if prompt is None or answer is None or rating is None or look.columns.names_answer:
        return None
    return _prompt_completion(look, rating, prompt, answer, f"ratings ({prompt}, {answer})")


def _named(columns: Columns) -> str:
    return f"{columns.prompt}, {columns.completion} and {columns.label}"


def _unknown(look: _Look) -> str:
    columns = look.columns
    options = [
        (columns.prompt, "--prompt-column"),
        (columns.completion, "--completion-column"),
        (columns.label, "--label-column"),
    ]
    if look.talk:
        options = options[2:]
    missing = [pair for pair in options if not look.has(pair[0])] or options[-1:]
    name, option = missing[0]
    return (
        f'{look.source}, row 1: no column "{name}"; found {listed(look.names)} (choose one with {option});'
        f" known formats: {KNOWN}"
    )
