"""Which format a source is in, told from its first records."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kto_tui.core.errors import UserError
from kto_tui.data.formats.argilla import recognize_argilla
from kto_tui.data.formats.base import MISSING, Format, Record, look_up
from kto_tui.data.formats.exports import RATINGS
from kto_tui.data.formats.label_studio import recognize_label_studio
from kto_tui.data.formats.paired import ChosenRejected, HalosPairwise, OpenAIPreference, RejectedResponse
from kto_tui.data.formats.ratings import Judge, distinct
from kto_tui.data.formats.traces import recognize_traces
from kto_tui.data.formats.unpaired import Conversation, Instruction, PromptCompletion
from kto_tui.data.rows import CONVERSATION, Columns
from kto_tui.data.wording import listed, shown

KNOWN = (
    "TRL, LLaMA-Factory, Axolotl, ms-swift, HALOs, OpenAI messages or preferences, Argilla, Label Studio,"
    " traces with a score"
)
_CONVERSATIONS = (CONVERSATION, "conversations", "conversation")
_QUESTIONS = ("prompt", "question", "instruction", "query")
_ANSWERS = ("completion", "response", "answer", "output")


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
            return known
    raise UserError(_unknown(looked))


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

    def first(self, names: Iterable[str]) -> str | None:
        return next((name for name in names if name in self.names), None)

    def values(self, name: str) -> list[Any]:
        return [value for record in self.records if (value := look_up(record, name)) is not MISSING]

    def holds(self, name: str, kind: type) -> bool:
        return any(isinstance(value, kind) for value in self.values(name))

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
        return Judge.of(self.columns, rating, distinct(self.values(rating)))

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
    return known if known is not None and known.settled else None


def _pair(look: _Look) -> Format | None:
    columns = look.columns
    if look.has(columns.prompt, columns.completion) and look.rating is not None:
        return None
    if look.has("preferred_output", "non_preferred_output"):
        return OpenAIPreference()
    if look.has("output_A", "output_B") and look.rating:
        return HalosPairwise(look.judge(look.rating))
    rejected = look.first(("rejected_response", "rejected_messages"))
    column = look.first((*_CONVERSATIONS, "query"))
    if rejected and column:
        return RejectedResponse("ms-swift pairs", column, rejected)
    if not look.has("chosen", "rejected"):
        return None
    return _chosen_rejected(look)


def _chosen_rejected(look: _Look) -> Format:
    if look.has(look.columns.prompt):
        prompt: str | None = look.columns.prompt
    else:
        prompt = look.first((*_QUESTIONS, "conversations"))
    talk = any(look.holds(name, kind) for name in ("chosen", "rejected") for kind in (list, dict))
    if prompt is None and talk and look.has(CONVERSATION) and not look.holds("chosen", list):
        prompt = CONVERSATION
    alpaca, talk_first = prompt == "instruction", prompt in _CONVERSATIONS
    chat = talk or alpaca or talk_first or look.has("system")
    if alpaca or talk_first:
        return ChosenRejected("LLaMA-Factory pairs", prompt, chat=True)
    if prompt is None:
        return ChosenRejected(f"TRL paired, implicit prompt, {'conversational' if talk else 'text'}", None)
    return ChosenRejected(f"TRL paired, {'conversational' if chat else 'text'}", prompt, chat=chat)


def _unpaired(look: _Look) -> Format | None:
    rating = look.rating or ("reward" if _is_halos(look) and look.has("reward") else None)
    if rating is None:
        return None
    columns, judge = look.columns, look.judge(rating)
    talk = look.first(_CONVERSATIONS)
    whole = look.has(columns.prompt, columns.completion)
    nested = "." in columns.prompt + columns.completion
    if columns.names_answer and (nested or not (whole or talk)) and (traced := _scored_trace(look)):
        return traced
    if whole or (columns.names_answer and not talk):
        return _prompt_completion(look, rating, columns.prompt, columns.completion, "TRL unpaired")
    if talk:
        return Conversation(look.named(_conversation_name(talk, rating), rating), judge, talk)
    if _is_halos(look):
        return _halos(look, rating)
    if look.has("instruction", "output"):
        name = "LLaMA-Factory alpaca" if rating == "kto_tag" else "alpaca"
        return Instruction(look.named(name, rating), judge, "instruction", "output")
    if look.has("query", "response"):
        return Instruction(look.named("ms-swift query and response", rating), judge, "query", "response")
    asked = look.first(("instruction", "question"))
    if asked and look.has("completion"):
        return Instruction(look.named(f"Axolotl KTO ({asked})", rating), judge, asked, "completion")
    if look.holds("completion", list):
        return Conversation(look.named("Axolotl KTO, conversations", rating), judge, "completion")
    return None


def _prompt_completion(look: _Look, rating: str, prompt: str, completion: str, name: str) -> Format:
    system = look.has("system")
    talk = system or look.holds(prompt, list) or look.holds(completion, list)
    if system and name == "TRL unpaired":
        name = "Axolotl KTO (system, prompt)"
    else:
        name = f"{name}, {'conversational' if talk else 'text'}"
    return PromptCompletion(look.named(name, rating), look.judge(rating), prompt, completion, system=system)


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
    prompt, answer, rating = look.first(_QUESTIONS), look.first(_ANSWERS), look.rating
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
    if look.first(_CONVERSATIONS):
        options = options[2:]
    missing = [pair for pair in options if not look.has(pair[0])] or options[-1:]
    name, option = missing[0]
    return (
        f'{look.source}, row 1: no column "{name}"; found {listed(look.names)} (choose one with {option});'
        f" known formats: {KNOWN}"
    )
