"""`kto-tui chat`: the same questions to the base and to the tuned model, side by side in the terminal."""

import io
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import msgspec

from kto_tui.cli.columns import SIDE_BY_SIDE, OneAfterTheOther, SideBySide, View
from kto_tui.cli.helper import Helper, HelperDied, Told, ended_by_signals, show_waiting
from kto_tui.cli.screen import say, warn
from kto_tui.core.errors import UserError
from kto_tui.insight.text import clean_text
from kto_tui.report.stream import supports_unicode
from kto_tui.run.trained import Trained, held_trained

_MODULE = "kto_tui.training.talking"
_TOKENS = 256
_WHO = ("base", "tuned")
_HELP = "/reset forgets what was said, /quit or Ctrl+D leaves, Ctrl+C stops an answer"
_WHY = {"length": "cut at --max-new-tokens", "stopped": "stopped"}


def chat(options: Mapping[str, Any]) -> int:
    """Talk until the user leaves or all prompts are answered. Returns the exit code. Raises UserError."""
    request = _request(options)
    try:
        with ended_by_signals(), held_trained(options["run_dir"]) as trained:
            _talk(options, request, trained)
    except HelperDied as death:
        warn(f"chat failed: {death}")
        return 1
    return 0


def _talk(options: Mapping[str, Any], request: dict[str, Any], trained: Trained) -> None:
    for note in trained.notes:
        warn(note)
    request |= {"config": msgspec.to_builtins(trained.config), "adapter": str(trained.adapter.resolve())}
    with Helper(_MODULE, request) as helper:
        conversation = Conversation(helper, trained)
        conversation.begin()
        if prompts := options.get("prompt"):
            _ask_all(conversation, prompts)
        else:
            _ask_around(conversation)


def _request(options: Mapping[str, Any]) -> dict[str, Any]:
    tokens, temperature = options.get("max_new_tokens", _TOKENS), options.get("temperature", 0.0)
    if tokens < 1:
        raise UserError(f"--max-new-tokens {tokens}: expected a number from 1 on")
    if not 0 <= temperature <= 100:
        raise UserError(f"--temperature {temperature:g}: expected a number from 0 to 100")
    return {"max_new_tokens": tokens, "temperature": temperature}


class Conversation:
    """What was said to both, each with its own answers, and how it is shown."""

    def __init__(self, helper: Helper, trained: Trained) -> None:
        self._helper = helper
        self._told = helper.told()
        self._base = trained.base
        self._headings = {
            "base": f"base: {clean_text(str(trained.config.model))}",
            "tuned": f"tuned: {trained.name}",
        }
        self._turns: dict[str, list[dict[str, str]]] = {}
        self.reset()

    def begin(self) -> None:
        """Wait until both are there."""
        for told in self._told:
            if told["kind"] == "progress":
                show_waiting(told)
            elif told["kind"] == "ready":
                show_waiting(None)
                self._tell_ready(told)
                return

    def _tell_ready(self, told: Told) -> None:
        """What is not as the user may think."""
        if not told["template"]:
            warn("the model has no chat template: it goes on with your text as it stands")
        here = (told["quantization"], told["dtype"])
        if self._base and here != (self._base.quantization, self._base.dtype):
            warn(
                f"the run trained on the base in {self._base.dtype}, quantization {self._base.quantization} "
                f"({self._base.device}); here it is {told['dtype']}, quantization {told['quantization']} "
                f"({told['device']}), and answers may differ a little"
            )

    def reset(self) -> None:
        """Forget what was said."""
        self._turns = {who: [] for who in _WHO}

    def ask(self, text: str) -> bool:
        """Have both answer, and show it. False where there is no answer to this."""
        text = _whole(text)
        turns = {who: [*said, {"role": "user", "content": text}] for who, said in self._turns.items()}
        view, together = self._view()
        answers = dict.fromkeys(_WHO, "")
        self._helper.ask({"turns": turns, "together": together})
        with self._stopping():
            for told in self._told:
                match told["kind"]:
                    case "piece":
                        answers[told["who"]] += told["text"]
                        view.add(told["who"], told["text"])
                    case "over":
                        view.ended(told["who"])
                    case "unanswered":
                        view.end()
                        warn(told["message"])
                        return False
                    case "answered":
                        view.end()
                        _show_endings(told["ended"])
                        break
        for who, answer in answers.items():
            turns[who].append({"role": "assistant", "content": answer})
        self._turns = turns
        return True

    def _view(self) -> tuple[View, bool]:
        width = shutil.get_terminal_size().columns
        if not sys.stdout.isatty():
            return OneAfterTheOther(_write, self._headings), False
        if width < SIDE_BY_SIDE:
            return OneAfterTheOther(_write, self._headings, width), False
        drawn = supports_unicode(sys.stdout)
        return SideBySide(_write, self._headings, width, unicode=drawn), True

    @contextmanager
    def _stopping(self) -> Iterator[None]:
        """Ctrl+C ends the answers; a second one, the chat."""

        def stop(*_: object) -> None:
            self._helper.ask({"stop": True})
            signal.signal(signal.SIGINT, before)

        before = signal.signal(signal.SIGINT, stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


def _ask_all(conversation: Conversation, prompts: Sequence[str]) -> None:
    """These questions, each without the ones before. Raises UserError for one that has no answer."""
    for prompt in prompts:
        conversation.reset()
        if len(prompts) > 1:
            say(f"> {prompt}")
        if not conversation.ask(prompt):
            raise UserError("the prompt was not answered")


def _ask_around(conversation: Conversation) -> None:
    """Question and answer until the end of the input."""
    typed = sys.stdin.isatty()
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    if typed:
        with suppress(ImportError):
            import readline  # noqa: F401  Line editing and history.
        say(_HELP)
    while (text := _read(typed)) is not None:
        match text.strip():
            case "":
                continue
            case "/quit" | "/exit":
                return
            case "/reset":
                conversation.reset()
                say("Forgotten.")
            case "/help" | "/?":
                say(_HELP)
            case _:
                conversation.ask(text)


def _read(typed: bool) -> str | None:
    """The next line; None at the end of the input."""
    if not typed:
        line = sys.stdin.readline()
        return line.rstrip("\n") if line else None
    while True:
        try:
            return input("\nyou> ")
        except EOFError:
            _write("\n")
            return None
        except KeyboardInterrupt:  # The line that was begun is dropped.
            _write("\n" + _HELP)


def _whole(text: str) -> str:
    """The text with a mark for each character that no tokenizer takes: a byte that was no UTF-8."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _show_endings(ended: Mapping[str, str]) -> None:
    notes = [f"{who}: {_WHY[why]}" for who, why in ended.items() if why in _WHY]
    if notes:
        say(f"({', '.join(notes)})")


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
