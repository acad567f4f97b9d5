import queue

import pytest
import torch

from kto_tui.core.events import Event, Progress
from kto_tui.training.emitter import Emitter
from kto_tui.training.memory import wait_for_device
from kto_tui.training.sitting import Throttled
from kto_tui.training.speed import Speedometer


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def step(meter: Speedometer, clock: Clock, seconds: float) -> None:
    meter.begin_step()
    meter.count(samples=8, tokens=400)
    clock.now += seconds
    meter.end_step()


def test_time_between_steps_is_left_out() -> None:
    clock = Clock()
    meter = Speedometer(clock)
    step(meter, clock, 2.0)
    clock.now += 500  # a pause
    step(meter, clock, 2.0)
    assert meter.take_window() == {"samples_per_second": 4.0, "tokens_per_second": 200.0}
    assert meter.eta_seconds(10) == pytest.approx(20.0)


def test_a_window_begins_anew_and_the_eta_does_not() -> None:
    clock = Clock()
    meter = Speedometer(clock)
    step(meter, clock, 1.0)
    meter.take_window()
    step(meter, clock, 3.0)
    assert meter.take_window()["samples_per_second"] == pytest.approx(8 / 3)
    assert meter.eta_seconds(3) == pytest.approx(6.0)


def test_what_the_device_has_still_to_do_belongs_to_the_step() -> None:
    clock = Clock()
    meter = Speedometer(clock)

    def wait() -> None:
        clock.now += 3.0

    meter.begin_step()
    clock.now += 1.0
    meter.end_step(wait)
    assert meter.eta_seconds(1) == pytest.approx(4.0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_device_is_waited_for() -> None:
    square = torch.rand(8192, 8192, device="cuda")
    for _ in range(20):
        square = square @ square
    queue_of_work = torch.cuda.current_stream()
    assert not queue_of_work.query()
    wait_for_device()
    assert queue_of_work.query()


def test_before_the_first_step_nothing_is_known() -> None:
    meter = Speedometer(Clock())
    meter.end_step()
    assert meter.take_window() == {}
    assert meter.eta_seconds(5) is None


class Closed(queue.Queue[Event]):
    def close(self) -> None: ...
    def join_thread(self) -> None: ...
    def cancel_join_thread(self) -> None: ...


def test_progress_is_thinned_out_but_its_ends_are_not() -> None:
    clock, events = Clock(), Closed()
    throttled = Throttled(Emitter(events), "preparing_data", clock=clock)
    for done in range(1, 101):
        clock.now += 0.01
        throttled.report(done, 100, "tokenizing")
    shown = [event.done for event in list(events.queue) if isinstance(event, Progress)]
    assert shown[0] == 1
    assert shown[-1] == 100
    assert len(shown) < 8
