"""What to do with a run that the output directory holds already: asked before a start."""

from typing import ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Footer, Static

from kto_tui.insight.lines import moment_text
from kto_tui.insight.text import clean_text, format_metric
from kto_tui.run.registry import RunSummary
from kto_tui.ui.screens.confirm import ConfirmScreen
from kto_tui.ui.terminal import TerminalApp

Choice = Literal["resume", "overwrite", "attach", "quit"]


def ask_existing_run(summary: RunSummary) -> Choice:
    """Ask on the terminal. "quit" also if the user's terminal or patience is gone."""
    return ExistingRunApp(summary).run() or "quit"


class ExistingRunApp(TerminalApp[Choice]):
    """Says what the directory holds, and offers only what can be done with it."""

    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "choose('resume')", "resume"),
        Binding("a", "choose('attach')", "attach"),
        Binding("o", "overwrite", "overwrite"),
        Binding("q,escape", "choose('quit')", "quit"),
    ]

    def __init__(self, summary: RunSummary) -> None:
        super().__init__()
        self._summary = summary

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog ask"):
            yield Static(self._question(), markup=False)
        yield Footer()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "overwrite":
            return not self._summary.alive
        if action == "choose" and parameters == ("resume",):
            return self._summary.checkpoints > 0 and not self._summary.alive
        return True

    def action_choose(self, choice: Choice) -> None:
        self.exit(choice)

    def action_overwrite(self) -> None:
        """Ask once more: this cannot be undone."""
        count = self._summary.checkpoints
        kept = f" and its {count} checkpoint{'s' * (count != 1)}" if count else ""
        question = ConfirmScreen(
            "Delete this run?",
            f"The run{kept} will be deleted from {clean_text(str(self._summary.directory.path))}.",
            yes="delete it and start anew",
            no="keep it",
        )
        self.push_screen(question, lambda yes: self.exit("overwrite") if yes else None)

    def action_help_quit(self) -> None:
        self.leave()

    def leave(self) -> None:
        self.exit("quit")

    def _question(self) -> Content:
        path = clean_text(str(self._summary.directory.path))
        offers = [Content.assemble((f"{key}  ", "bold"), text) for key, text in offers_for(self._summary)]
        return Content("\n").join(
            [
                Content.styled("This directory holds a run already", "bold"),
                Content(""),
                Content(path),
                Content(describe(self._summary)),
                Content(""),
                *offers,
            ]
        )


def describe(summary: RunSummary) -> str:
    """Status, step, margin, checkpoints and age in one line."""
    of_total = f" of {summary.total_steps:,}" if summary.total_steps else ""
    parts = [summary.status, f"step {summary.step:,}{of_total}"]
    if summary.margin is not None:
        parts.append(f"margin {format_metric(summary.margin)}")
    parts.append(f"{summary.checkpoints} checkpoint{'s' * (summary.checkpoints != 1)}")
    if summary.updated is not None:
        parts.append(f"last word {moment_text(summary.updated)}")
    return " · ".join(parts)


def offers_for(summary: RunSummary) -> list[tuple[str, str]]:
    """(key, what it does) of what can be done with this run."""
    if summary.alive:
        return [("a", "attach: watch and steer it"), ("q", "leave it alone")]
    offers = [("r", "resume from the newest checkpoint")] if summary.checkpoints else []
    return [
        *offers,
        ("a", "look at it: replay what it said"),
        ("o", "overwrite: delete it and start anew (asks once more)"),
        ("q", "leave it alone"),
    ]
