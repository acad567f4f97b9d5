"""A rated row, and the names of the columns that it is read from."""

from dataclasses import dataclass
from typing import Any, Self

from kto_tui.core.config import RunConfig

Message = dict[str, Any]  # role and content, and what chat templates know beside: tool_calls, name, ...
Text = str | list[Message]
CONVERSATION = "messages"


@dataclass(frozen=True)
class Columns:
    """The names of the columns that are read, and from which number on a rating is desirable.

    Names that differ from these defaults were given by the user, and win over what a format reads.
    """

    prompt: str = "prompt"
    completion: str = "completion"
    label: str = "label"
    desirable_at_least: float | None = None

    @classmethod
    def of(cls, config: RunConfig) -> Self:
        """As the settings of a run name them."""
        return cls(
            prompt=config.prompt_column,
            completion=config.completion_column,
            label=config.label_column,
            desirable_at_least=config.desirable_at_least,
        )

    def options(self) -> tuple[tuple[str, str, str], ...]:
        """(option, name, default name) of the columns that the user can name."""
        usual = Columns()
        return (
            ("--prompt-column", self.prompt, usual.prompt),
            ("--completion-column", self.completion, usual.completion),
            ("--label-column", self.label, usual.label),
        )

    @property
    def names_answer(self) -> bool:
        """Whether the user chose the column of the prompt or of the answer."""
        return (self.prompt, self.completion) != ("prompt", "completion")

    @property
    def names_label(self) -> bool:
        """Whether the user chose the column of the rating."""
        return self.label != "label"


@dataclass(frozen=True, slots=True)
class Row:
    """One rated answer. Prompt and completion are both text, or both lists of {"role", "content"}.

    `where` tells a person where the row lies: "train.jsonl, row 41", counted from 1. `tools` are the
    functions that the conversation may call, as chat templates take them (JSON schemas).
    """

    prompt: Text
    completion: Text
    label: bool
    where: str
    tools: list[dict[str, Any]] | None = None
