"""The feed: what it posts, how often, and how it ends."""

import itertools
import os
import threading
import time
from pathlib import Path

from kto_tui.core.events import AnyEvent, encode_event
from kto_tui.run.journal import JournalReader
from kto_tui.run.log import log_tail
from kto_tui.ui.feed import POST_SECONDS, Feed, News
from tests.ui import fake_run as fake
from tests.ui.driving import Told, trained


def feed_of(source: Told, posted: list[News], *, alive: bool = True, log: Path = Path("none")) -> Feed:
    return Feed(source, log, lambda: alive, posted.append)


def test_nothing_new_posts_nothing(tmp_path: Path) -> None:
    posted: list[News] = []
    source = Told(trained(tmp_path))
    feed = feed_of(source, posted)
    assert feed.turn()
    assert [news.caught_up for news in posted] == [True]
    assert len(posted[0].rows) == 46
    assert feed.turn()
    assert len(posted) == 1
    source.tell(fake.logged(235, 500, fake.START + 7000))
    assert feed.turn()
    assert [row.step for row in posted[1].rows if hasattr(row, "step")] == [235]


def test_posts_at_most_five_times_a_second(tmp_path: Path) -> None:
    posted: list[float] = []
    source = Told()

    class Busy:
        """Has one more step every time it is asked, and then nothing for now."""

        def __init__(self) -> None:
            self.step = 0
            self.asked = 0

        def read_events(self) -> list[AnyEvent]:
            self.asked += 1
            if self.asked % 2:
                return []
            self.step += 1
            return [fake.logged(self.step, 10_000, fake.START)]

        def close(self) -> None:
            source.close()

    feed = Feed(Busy(), tmp_path / "run.log", lambda: True, lambda _: posted.append(time.monotonic()))
    thread = threading.Thread(target=feed.run)
    thread.start()
    deadline = time.monotonic() + 10
    while len(posted) < 5:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    feed.stop()
    thread.join(5)
    assert not thread.is_alive()
    assert source.closed
    gaps = [later - earlier for earlier, later in itertools.pairwise(posted)]
    assert min(gaps) > POST_SECONDS * 0.9


def test_a_long_journal_comes_in_parts_and_claims_nothing_before_its_end(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with path.open("wb") as file:
        for step in range(60_000):
            file.write(encode_event(fake.logged(step, 60_000, fake.START)))
        file.write(encode_event(fake.ended("completed", 60_000, fake.START)))
    posted: list[News] = []
    feed = Feed(JournalReader(path), tmp_path / "run.log", lambda: False, posted.append)
    while not feed.turn():
        assert not posted[-1].caught_up
    assert posted[-1].caught_up
    assert sum(len(news.rows) for news in posted) == 60_000
    assert posted[-1].state.ended is not None
    feed.stop()
    feed.run()


def test_liveness_is_asked_before_reading(tmp_path: Path) -> None:
    """A run that ends and lets its lock go between the two must not be called dead."""
    source = Told(trained(tmp_path))
    posted: list[News] = []

    def alive() -> bool:
        source.tell(fake.ended("completed", 230, fake.START + 6000))
        return False

    Feed(source, tmp_path / "run.log", alive, posted.append).turn()
    assert posted[0].state.status(posted[0].alive) == "completed"


def test_the_tail_of_the_log_comes_only_with_trouble(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    log.write_text("it went wrong\n")
    posted: list[News] = []
    feed_of(Told(trained(tmp_path)), posted, alive=True, log=log).turn()
    feed_of(Told(trained(tmp_path)), posted, alive=False, log=log).turn()
    completed = [*trained(tmp_path), fake.ended("completed", 500, fake.START)]
    feed_of(Told(completed), posted, alive=False, log=log).turn()
    assert [news.log_tail for news in posted] == [(), ("it went wrong",), ()]


def test_log_tail_is_safe_and_as_a_terminal_would_leave_it(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    log.write_bytes(
        b"".join(b"old %d\n" % number for number in range(20))
        + b'\x1b[31mred\x1b[0m\n\n  File "x.py", line 3\n 1%|#\r 50%|##\r100%|####\n\xff\xfe broken\n'
    )
    lines = log_tail(log)
    assert len(lines) == 15
    assert lines[-4:] == ("red", '  File "x.py", line 3', "100%|####", "\ufffd\ufffd broken")
    assert log_tail(tmp_path / "missing") == ()


def test_a_pipe_in_place_of_the_log_keeps_nobody_waiting(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    os.mkfifo(log)
    assert log_tail(log) == ()
