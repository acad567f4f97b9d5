"""Rows are tokenized while the weights are loaded: the one needs the processor, the other the disk."""

import logging
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait

from transformers import PreTrainedTokenizerBase

from kto_tui.core.config import RunConfig
from kto_tui.core.datareport import DataReport
from kto_tui.training.caches import open_token_cache
from kto_tui.training.dataset import Prepared, prepare
from kto_tui.training.reading import ReadRows, Split, reports
from kto_tui.training.sitting import Sitting

logger = logging.getLogger(__name__)

_LISTEN_SECONDS = 0.1
_DETAILS: dict[Split, str] = {"train": "tokenizing", "eval": "tokenizing evaluation rows"}


class Cancelled(Exception):
    """Nobody waits for the rows any more."""


class Preparing:
    """The rows of all splits on their way to tokens, in a thread of its own from `begin` on."""

    def __init__(self, sitting: Sitting, read: Mapping[Split, ReadRows]) -> None:
        self._sitting = sitting
        self._config: RunConfig = sitting.config
        self._read = read
        self.reports: Mapping[Split, DataReport] = {}
        self._readings: dict[Split, tuple[int, int]] = {}
        self._cancelled = threading.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tokenizing")
        self._prepared: Future[dict[Split, Prepared]] | None = None

    def begin(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Start, now that the tokenizer is there."""
        self._prepared = self._thread.submit(self._prepare, tokenizer)

    def finish(self) -> dict[Split, Prepared]:
        """The rows by split, and `reports`. Meanwhile progress is reported and requests are heard.

        Raises UserError for rows that cannot be used, and SittingEnded.
        """
        assert self._prepared is not None
        report = self._sitting.progress("preparing_data")
        while not wait([self._prepared], _LISTEN_SECONDS).done:
            for split, (done, total) in list(self._readings.items())[-1:]:
                report(done, total, _DETAILS[split])
            self._sitting.steering.end_before_first_step()
        prepared = self._prepared.result()
        for split, read in self._read.items():
            report(len(read.rows), len(read.rows), _DETAILS[split])
        return prepared

    def close(self) -> None:
        """End the thread, also in the middle of its work."""
        self._cancelled.set()
        self._thread.shutdown()

    def _prepare(self, tokenizer: PreTrainedTokenizerBase) -> dict[Split, Prepared]:
        cache = open_token_cache(self._config)
        prepared = {}
        for split, read in self._read.items():

            def on_row(done: int, total: int, split: Split = split) -> None:
                self._end_if_cancelled()
                self._readings[split] = done, total

            source = self._sources[split]
            prepared[split] = prepare(read.rows, tokenizer, self._config, on_row, source=source, cache=cache)
        if cache is not None and cache.problem:
            logger.warning("tokenized rows are not kept: %s", cache.problem)
        self.reports = reports(self._config, self._read, prepared, tokenizer)
        return prepared

    def _end_if_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise Cancelled

    @property
    def _sources(self) -> dict[Split, str | None]:
        config = self._config
        held_out = None if config.eval_fraction is None else f"--eval-fraction {config.eval_fraction:g}"
        return {"train": config.dataset, "eval": config.eval_dataset or held_out}
