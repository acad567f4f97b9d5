"""The trackers of this process's run: opened with the training, and told how it ended."""

import contextlib
from collections.abc import Iterator

from kto_tui.core.config import RunConfig
from kto_tui.training.steering import SittingEnded
from kto_tui.training.trackers import Trackers
from kto_tui.training.trackers import together as limits

# As W&B and MLflow have it, too: a process trains one run, and its trackers are found from anywhere in it.
_open: list[Trackers] = []


@contextlib.contextmanager
def tracked(config: RunConfig) -> Iterator[None]:
    """Have `current` be the trackers that `config` names; close them, as failed when an exception comes out.

    No tracker's error comes out, and at most END_SECONDS are waited for them (less under a deadline).
    """
    trackers = Trackers(config)
    _open.append(trackers)
    failed = True
    try:
        yield
        failed = False
    except SittingEnded:
        failed = False
        raise
    finally:
        _open.remove(trackers)
        trackers.close(failed=failed, seconds=_seconds(config))


def current() -> Trackers | None:
    """The trackers of the run that is under way."""
    return _open[-1] if _open else None


def _seconds(config: RunConfig) -> float:
    """Someone who wants the process gone by a deadline has had the checkpoint; the rest is a courtesy."""
    if config.grace_seconds is None:
        return limits.END_SECONDS
    return min(limits.END_SECONDS, config.grace_seconds / 10)
