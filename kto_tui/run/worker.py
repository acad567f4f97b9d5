"""The worker as its supervisor sees it: a spawned process, a queue each way, and its end."""

import contextlib
import multiprocessing
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any

from kto_tui.core.commands import Command
from kto_tui.core.config import RunConfig
from kto_tui.core.events import Event

# What training calls: main(config, events, commands). A function that a new process can import.
WorkerEntry = Callable[[RunConfig, Any, Any], None]

_QUEUE_SIZE = 10_000
_POLL_SECONDS = 0.2
_LAST_WORDS_SECONDS = 5.0
_SUPERVISORS_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


@dataclass(frozen=True)
class WorkerExited:
    """The worker is gone, and all that it said was delivered before. Negative: killed by that signal."""

    exit_code: int


Inbox = queue.SimpleQueue[Event | WorkerExited]


class WorkerProcess:
    """One worker from its start to its end. Its events, then one WorkerExited, go to `inbox`."""

    def __init__(self, entry: WorkerEntry, config: RunConfig, inbox: Inbox) -> None:
        context = multiprocessing.get_context("spawn")
        self._inbox = inbox
        self._events = context.Queue(_QUEUE_SIZE)
        self._commands = context.Queue()
        self._process = context.Process(
            target=_enter, args=(entry, config, self._events, self._commands), name="kto-tui worker"
        )
        self._pump = threading.Thread(target=self._deliver, name="worker events", daemon=True)
        self._watch = threading.Thread(target=self._announce_end, name="worker end", daemon=True)

    @property
    def pid(self) -> int | None:
        """The process id, once started."""
        return self._process.pid

    def start(self) -> None:
        """Start the process. Signals for the supervisor are held back until the worker is deaf to them."""
        with _blocked(_SUPERVISORS_SIGNALS):
            self._process.start()
        self._pump.start()
        self._watch.start()

    def send(self, command: Command) -> None:
        """Hand a request to the worker, which takes it at its next step boundary."""
        self._commands.put(command)

    def wait(self, seconds: float | None) -> None:
        """Wait for the process to end, at most so many seconds."""
        self._process.join(seconds)

    def kill(self) -> None:
        """End the process now, without a checkpoint."""
        self._process.kill()

    def _deliver(self) -> None:
        """Move events to the inbox until the worker is gone and has nothing more to say."""
        while True:
            gone = bool(wait([self._process.sentinel], timeout=0))
            try:
                self._inbox.put(self._events.get(timeout=_POLL_SECONDS))
            except queue.Empty:
                if gone:
                    return

    def _announce_end(self) -> None:
        """Say that the worker is gone, once the rest is delivered.

        A worker killed while it spoke leaves half a message, at which the delivery waits for ever.
        """
        wait([self._process.sentinel])
        self._pump.join(_LAST_WORDS_SECONDS)
        self._process.join()
        self._commands.cancel_join_thread()
        self._inbox.put(WorkerExited(self._process.exitcode or 0))


def describe_exit(exit_code: int) -> str:
    """How a process ended, in words."""
    if exit_code >= 0:
        return f"ended with exit code {exit_code} and without a word"
    try:
        return f"was killed by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"was killed by signal {-exit_code}"


@contextlib.contextmanager
def _blocked(signals: tuple[signal.Signals, ...]) -> Iterator[None]:
    """Hold these signals back; a child that is started inherits that."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _enter(entry: WorkerEntry, config: RunConfig, events: Any, commands: Any) -> None:
    """First steps in the new process. Ctrl+C and hang-ups reach the whole terminal group, but only
    the supervisor answers them. Handlers, unlike SIG_IGN, are not passed on to the worker's children.
    """
    for number in _SUPERVISORS_SIGNALS:
        signal.signal(number, _leave_to_supervisor)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SUPERVISORS_SIGNALS)
    entry(config, events, commands)


def _leave_to_supervisor(_number: int, _frame: object) -> None:
    """The supervisor got this signal too, and asks for a checkpoint and the end."""
