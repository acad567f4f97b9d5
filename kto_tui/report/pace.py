"""How fast a sitting trains: its steps and rows over the time it spent at them."""

from kto_tui.core.events import CheckpointSaved, DataReady, Event, Stage, StageChanged, StepLogged
from kto_tui.insight.steady import Steady

_AT_WORK: frozenset[Stage] = frozenset({"training", "evaluating", "saving"})


class Pace:
    """Steps and working seconds of one sitting.

    Work is training, evaluating and saving; pauses, parking and the loading of the model are not. The
    clock stops at the last step whose time is known.
    """

    def __init__(self, first_step: int) -> None:
        self._first_step = self._last_step = first_step
        self._steady = Steady()
        self._since: float | None = None
        self._worked = 0.0
        self._seconds = 0.0
        self._started = False
        self._examples: int | None = None
        # Epochs done and working seconds, at the first moment and the last at which both are known.
        self._first_pass: tuple[float, float] | None = (0.0, 0.0) if first_step == 0 else None
        self._last_pass = self._first_pass

    @property
    def now(self) -> float:
        """The moment of the newest event, in seconds of a clock that no one sets."""
        return self._steady.now

    def handle(self, event: Event) -> None:
        """Take note of an event of this sitting."""
        self._steady = self._steady.after(event)
        match event:
            case StageChanged():
                self._enter(event)
            case DataReady():
                self._examples = event.examples
            case StepLogged():
                self._reach(event.step, self.now)
                self._pass(event.epoch)
            case CheckpointSaved():
                self._reach(event.step, self.now - max(0.0, event.seconds))

    def _enter(self, event: StageChanged) -> None:
        if self._since is not None:
            self._worked += max(0.0, self.now - self._since)
        self._started = self._started or event.stage == "training"
        self._since = self.now if self._started and event.stage in _AT_WORK else None

    def _reach(self, step: int, time: float) -> None:
        if not self._started:  # The start was not seen: count from here.
            self._started = True
            self._first_step = self._last_step = step
            self._since = time
            self._first_pass = None
        if step > self._last_step:
            self._last_step = step
            self._seconds = self._worked + (max(0.0, time - self._since) if self._since is not None else 0.0)

    def _pass(self, epoch: float) -> None:
        self._last_pass = (epoch, self._seconds)
        self._first_pass = self._first_pass or self._last_pass

    @property
    def steps_per_second(self) -> float | None:
        """The average; None before the first step is done."""
        steps = self._last_step - self._first_step
        return steps / self._seconds if steps > 0 and self._seconds > 0 else None

    @property
    def samples_per_second(self) -> float | None:
        """The average number of rows trained on, by the share of the data done; None where that is not known.

        A step may be short, so the number of steps does not tell. A resumed sitting is measured from its
        first logged step on.
        """
        if self._examples is None or self._first_pass is None or self._last_pass is None:
            return None
        epochs, seconds = (
            last - first for first, last in zip(self._first_pass, self._last_pass, strict=True)
        )
        return epochs * self._examples / seconds if epochs > 0 and seconds > 0 else None
