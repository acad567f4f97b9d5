"""What the keys do and what the columns mean."""

from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

if TYPE_CHECKING:
    from rich.table import Table

KEYS = (
    ("p", "pause after saving a checkpoint; again: go on"),
    ("c", "save a checkpoint now and go on"),
    ("k", "park: save, and let the GPU go; again: go on from that very step"),
    ("s", "stop after a checkpoint (asks first)"),
    ("d, q", "detach: the run goes on; once it has ended: leave"),
    ("tab", "go to the next pane; arrows, page keys, home and end scroll it"),
    ("end", "in the metrics: back to the newest row"),
    ("ctrl+p", "all commands, themes too"),
    (
        "enter",
        "where a message says so: all that an alert has to say, as the stacks of a worker that stands still",
    ),
    ("i", "the data report: classes, lengths, and what is wrong with the rows"),
    ("?, escape", "close this"),
)
COLUMNS = (
    ("Loss", "mean since the last row. It starts at about 0.5: normal, not broken. Falling is good"),
    ("LR", "learning rate; rises while warming up, then follows its schedule"),
    ("Chosen", "mean reward of the good answers: how much likelier than before training, times beta"),
    ("Reject", "the same for the bad answers: should go below Chosen"),
    ("Margin", "Chosen minus Reject: rising is good, the best single sign of learning"),
    ("KL", "how far the model has moved, never below 0; it may stay 0 early on: normal"),
    (
        "AUC",
        "how often a good answer's reward is above a bad one's: 0.5 is chance, 1 is always; of the rows held "
        "out at each evaluation, and of the 512 last trained on",
    ),
    ("GPU Mem", "what the device has in use at that step; without a GPU: Memory, the worker's own"),
    ("Samp/sec", "rated rows trained on in a second"),
    ("ETA", "time left, counted from the steps of this sitting, pauses left out"),
    ("▲ ▼", "went up or down since the row before; green is good, red (bold) is bad"),
    ("– nan", "– was not measured; nan is not a number: training may have diverged"),
)
ABOUT = (
    "Closing this dashboard never touches the run. A key makes a request; the messages show it as asked, "
    "then as done or rejected when the run itself has answered."
)


class HelpScreen(ModalScreen[None]):
    """A page of text that scrolls."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,d,question_mark", "close", "close"),
    ]

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog help") as page:
            page.border_title = "Help"
            page.border_subtitle = "escape closes"
            yield Static(_section("Keys", KEYS), markup=False)
            yield Static(_section("Columns", COLUMNS), markup=False)
            yield Static(Content(ABOUT), markup=False)

    def action_close(self) -> None:
        self.dismiss(None)


def _section(title: str, entries: tuple[tuple[str, str], ...]) -> "Table":
    """Names to the left, their explanation beside them; rich's table is imported when help is asked for."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right", no_wrap=True)
    table.add_column()
    table.add_row("", Text(title, style="bold"))
    for name, text in entries:
        table.add_row(Text(name, style="bold"), Text(text))
    table.add_row("", "")
    return table
