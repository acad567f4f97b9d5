import multiprocessing
import queue
from multiprocessing.queues import Queue

from kto_tui.core.events import AlertRaised, Event, Progress, RunEnded, StageChanged
from kto_tui.training.emitter import Emitter


def bounded(size: int) -> "Queue[Event]":
    return multiprocessing.get_context("spawn").Queue(size)


def progress(done: int) -> Progress:
    return Progress(stage="training", done=done, total=9)


def taken(events: "Queue[Event]", count: int) -> list[Event]:
    return [events.get(timeout=10) for _ in range(count)]


def test_a_full_queue_drops_readings_only_and_says_so() -> None:
    events = bounded(1)
    emitter = Emitter(events)
    emitter.emit(progress(1))
    emitter.emit(progress(2))
    emitter.emit(StageChanged(stage="saving"))
    emitter.emit(progress(3))
    assert not emitter.flush()
    (first,) = taken(events, 1)
    assert isinstance(first, Progress)
    assert emitter.flush()
    (second,) = taken(events, 1)
    assert isinstance(second, StageChanged)
    assert emitter.flush()
    (alert,) = taken(events, 1)
    assert isinstance(alert, AlertRaised)
    assert alert.kind == "events_dropped"
    assert alert.message.startswith("2 ")
    emitter.close(reader_alive=True)


def test_order_is_kept_while_events_wait() -> None:
    events = bounded(1)
    emitter = Emitter(events)
    emitter.emit(StageChanged(stage="saving"))
    emitter.emit(StageChanged(stage="training"))
    taken(events, 1)
    emitter.emit(StageChanged(stage="paused"))
    (event,) = taken(events, 1)
    assert isinstance(event, StageChanged)
    assert event.stage == "training"


def test_closing_gives_up_on_a_reader_that_does_not_read() -> None:
    events = bounded(1)
    emitter = Emitter(events)
    emitter.emit(StageChanged(stage="saving"))
    emitter.emit(RunEnded(status="completed", step=1, seconds=1.0))
    emitter.close(reader_alive=True, seconds=0.05)


class Recorded(queue.Queue[Event]):
    """A full queue without a reader, which notes how it was closed."""

    def __init__(self) -> None:
        super().__init__(1)
        self.calls: list[str] = []

    def close(self) -> None:
        self.calls.append("close")

    def join_thread(self) -> None:
        self.calls.append("join_thread")

    def cancel_join_thread(self) -> None:
        self.calls.append("cancel_join_thread")


def test_without_a_reader_nothing_is_waited_for() -> None:
    events = Recorded()
    emitter = Emitter(events)
    emitter.emit(StageChanged(stage="saving"))
    emitter.close(reader_alive=False)
    assert events.calls == ["cancel_join_thread", "close"]


def test_with_all_sent_the_queue_is_joined() -> None:
    events = Recorded()
    emitter = Emitter(events)
    emitter.emit(StageChanged(stage="saving"))
    emitter.close(reader_alive=True)
    assert events.calls == ["close", "join_thread"]
