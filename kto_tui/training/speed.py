"""How fast training goes: only time inside steps counts, so pauses, saves and evaluations do not."""

import time
from collections.abc import Callable


class Speedometer:
    """Measures steps. `clock` gives seconds and only ever grows."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began: float | None = None
        self._steps = 0
        self._step_seconds = 0.0
        self._window_seconds = 0.0
        self._window_samples = 0
        self._window_tokens = 0

    def begin_step(self) -> None:
        """A step begins: its rows are about to be fetched."""
        self._began = self._clock()

    def count(self, samples: int, tokens: int) -> None:
        """Rows and tokens that the step under way trains on."""
        self._window_samples += samples
        self._window_tokens += tokens

    def end_step(self, settle: Callable[[], None] | None = None) -> None:
        """The step is done: the optimizer has moved. `settle` waits until that is true of the device too."""
        if self._began is None:
            return
        if settle is not None:
            settle()
        seconds = self._clock() - self._began
        self._began = None
        self._steps += 1
        self._step_seconds += seconds
        self._window_seconds += seconds

    def take_window(self) -> dict[str, float]:
        """samples_per_second and tokens_per_second since the last call; empty before the first step."""
        seconds, self._window_seconds = self._window_seconds, 0.0
        samples, self._window_samples = self._window_samples, 0
        tokens, self._window_tokens = self._window_tokens, 0
        if seconds <= 0:
            return {}
        return {"samples_per_second": samples / seconds, "tokens_per_second": tokens / seconds}

    def eta_seconds(self, steps_left: int) -> float | None:
        """Time for `steps_left` more steps at this sitting's pace; None before its first step."""
        if not self._steps:
            return None
        return steps_left * self._step_seconds / self._steps
