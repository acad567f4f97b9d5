"""Trackers that get the metrics: each through transformers' own integration, in a thread of its own.

Training never waits for one: what is to be sent is put on the tracker's queue. One that fails or hangs is
told of once and left out for the rest.
"""

from kto_tui.training.trackers.together import Trackers

__all__ = ["Trackers"]
