"""A worker as the supervisor has it: a spawned process, heard to its end."""

import queue
from collections.abc import Callable

import train_worker
from kto_tui.core.config import RunConfig
from kto_tui.core.events import Event
from kto_tui.run.worker import Inbox, WorkerExited, WorkerProcess

SECONDS = 90.0


def nothing(event: Event, worker: WorkerProcess) -> None: ...


def work(
    config: RunConfig, on_event: Callable[[Event, WorkerProcess], None] = nothing
) -> tuple[list[Event], int]:
    """What the worker said, and its exit code. `on_event` may steer it."""
    inbox: Inbox = queue.SimpleQueue()
    worker = WorkerProcess(train_worker.main, config, inbox)
    worker.start()
    heard: list[Event] = []
    try:
        while not isinstance(news := inbox.get(timeout=SECONDS), WorkerExited):
            heard.append(news)
            on_event(news, worker)
        return heard, news.exit_code
    finally:
        worker.kill()
