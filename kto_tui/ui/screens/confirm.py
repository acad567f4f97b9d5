"""A question that is answered with y or n."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static


class ConfirmScreen(ModalScreen[bool]):
    """Returns True only for y: enter alone never says yes.

    The answers stand before the explanation, so that a small terminal shows them.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "yes"),
        Binding("n,escape,q", "answer(False)", "no"),
    ]

    def __init__(self, question: str, explanation: str, yes: str, no: str) -> None:
        super().__init__()
        self._question = question
        self._explanation = explanation
        self._answers = f"y  {yes}\nn  {no}"

    def compose(self) -> ComposeResult:
        text = Content("\n\n").join(
            [Content.styled(self._question, "bold"), Content(self._answers), Content(self._explanation)]
        )
        with Vertical(classes="dialog"):
            yield Static(text, markup=False)

    def action_answer(self, yes: bool) -> None:
        self.dismiss(yes)
