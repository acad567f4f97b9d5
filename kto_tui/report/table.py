"""The run as it is printed line by line: what is loaded, the table of metrics, and how it ended."""

from collections.abc import Callable
from pathlib import Path

from kto_tui.core.config import RunConfig
from kto_tui.core.directory import RunDirectory
from kto_tui.core.errors import WRONG_REQUEST
from kto_tui.core.events import (
    AlertRaised,
    CheckpointDeleted,
    CheckpointFailed,
    CheckpointPinned,
    CheckpointSaved,
    CommandDone,
    DataReady,
    DataReported,
    Evaluated,
    Event,
    ModelLoaded,
    ReferenceCacheReady,
    RunEnded,
    RunStarted,
    Stage,
    StageChanged,
    StepLogged,
)
from kto_tui.insight.history import MetricRow, RowMaker
from kto_tui.insight.state import CheckpointEvent, resumed_step
from kto_tui.insight.text import (
    clean_text,
    format_duration,
    format_learning_rate,
    format_loss,
    format_memory,
    format_metric,
    format_rate,
)
from kto_tui.insight.view import resume_command
from kto_tui.report import sentences
from kto_tui.report.data_report import short_report
from kto_tui.report.frame import WIDTH, Frame, Tone
from kto_tui.report.pace import Pace
from kto_tui.report.width import shorten

_HOLDS: frozenset[Stage] = frozenset({"paused", "parked"})
_TURNS: dict[str, Tone] = {"better": "good", "worse": "bad", "same": "plain"}
_SEVERITIES: dict[str, Tone] = {"info": "plain", "warning": "warning", "error": "bad"}
_ENDINGS: dict[str, Tone] = {"completed": "good", "stopped": "warning", "failed": "bad"}
_NARROW = 6


class TablePrinter:
    """Prints the events of a run's journal in their order, whole lines at a time.

    `write` is given one line without its newline. A journal may hold several sittings: each
    `run_started` closes what is open and begins anew, unless it is that of a worker started again after a
    fault: the table goes on then.
    """

    def __init__(
        self, config: RunConfig, write: Callable[[str], None], *, unicode: bool = True, color: bool = False
    ) -> None:
        assert config.output_dir is not None
        self._config = config
        self._write = write
        self._frame = Frame(unicode=unicode, color=color)
        self._directory = RunDirectory(Path(config.output_dir))
        self._checkpoints: set[int] = set()
        self._quiet = True
        self._begin(None)

    def _begin(self, event: RunStarted | None) -> None:
        """Forget the sitting before."""
        self._begin_worker(event)
        self._announced = False
        self._on_host = False
        self._open = False

    def _begin_worker(self, event: RunStarted | None) -> None:
        """Forget how the worker before did."""
        self._started = event
        self._rows = RowMaker()
        self._step = resumed_step(event)
        self._pace = Pace(self._step)
        self._stage: Stage | None = None
        self._held_since = 0.0

    def handle(self, event: Event) -> None:
        """Print what this event has to say, which may be nothing."""
        self._pace.handle(event)
        match event:
            case RunStarted():
                self._on_start(event)
            case StageChanged():
                self._on_stage(event)
            case ModelLoaded():
                self._on_model(event)
            case DataReported() if not self._announced:
                self._on_report(event)
            case DataReady() if not self._announced:
                self._line(sentences.data_ready(event))
            case ReferenceCacheReady() if not self._announced:
                self._line(sentences.reference(event))
            case StepLogged():
                self._on_step(event)
            case Evaluated():
                self._note(self._frame.text(sentences.evaluated(event)))
            case CheckpointSaved() | CheckpointPinned() | CheckpointDeleted() | CheckpointFailed():
                self._on_checkpoint(event)
            case AlertRaised():
                self._note(self._frame.text(sentences.alert(event)), _SEVERITIES[event.severity])
            case CommandDone() if event.outcome == "rejected":
                self._note(self._frame.text(f"REJECTED {event.command}: {event.detail}"), "warning")
            case RunEnded():
                self._on_end(event)

    def close(self) -> None:
        """Close a table that is open, as when its run died without a word."""
        if self._open:
            self._put([self._frame.bottom()])
        self._open = False

    # Before training

    def _on_start(self, event: RunStarted) -> None:
        if self._stage == "restarting":
            self._begin_worker(event)
            name = Path(event.resumed_from).name if event.resumed_from else ""
            again = f" from {name}: steps after it are done again" if name else " from the beginning"
            self._note(self._frame.text(f"RESTARTED{again}"), "warning")
            return
        if self._open:
            self._note(
                "The sitting ended here without a word: it was killed, or the machine went down.", "bad"
            )
        self.close()
        self._begin(event)
        self._gap()

    def _on_model(self, event: ModelLoaded) -> None:
        self._on_host = event.device == "cpu"
        if not self._announced:
            self._line(sentences.model_loaded(event))

    def _on_report(self, event: DataReported) -> None:
        for text, tone in short_report(event.report, event.split):
            self._put([self._frame.paint(self._frame.text(text), tone)])

    def _on_stage(self, event: StageChanged) -> None:
        before, self._stage = self._stage, event.stage
        if before in _HOLDS and event.stage not in _HOLDS:
            again = "; the model is loaded again" if before == "parked" else ""
            self._note(f"RESUMED after {format_duration(self._pace.now - self._held_since)}{again}")
        elif event.stage in _HOLDS and before not in _HOLDS:
            self._held_since = self._pace.now
        if event.stage == "paused":
            self._note(f"PAUSED at step {self._step}", "warning")
        elif event.stage == "parked":
            self._note(f"PARKED at step {self._step}: the device is free until the run is resumed", "warning")
        elif event.stage == "restarting":
            self._note(self._frame.text("RESTARTING: the worker is about to be started again …"), "warning")
        elif event.stage == "training":
            self._announce()
        elif not self._announced:
            self._say_stage(event.stage)

    def _say_stage(self, stage: Stage) -> None:
        texts = {
            "loading_model": f"Loading model {self._config.model} …",
            "preparing_data": f"Preparing data {self._config.dataset} …",
            "caching_reference": "Computing the reference model's log-probabilities …",
        }
        if stage in texts:
            self._line(texts[stage])

    def _announce(self) -> None:
        """The banner, once a sitting."""
        if self._announced:
            return
        self._announced = True
        resumed = self._started.resumed_from if self._started else None
        title = f"TRAINING RESUMED from {Path(resumed).name}" if resumed else "TRAINING STARTED"
        title = shorten(self._frame.text(title), WIDTH, self._frame.ellipsis)
        config = self._config
        kept = "checkpoint" if config.save_total_limit == 1 else "checkpoints"
        self._gap()
        self._put(self._frame.banner(title))
        self._put(
            [
                "Checkpoint Configuration:",
                f"  Save every: {config.save_steps} step{'s' if config.save_steps > 1 else ''}",
                f"  Keep last: {config.save_total_limit} {kept}",
                f"  Output dir: {self._frame.text(str(config.output_dir))}",
                "",
            ]
        )

    # While training

    def _on_step(self, event: StepLogged) -> None:
        self._step = max(self._step, event.step)
        row = self._rows.row(event)
        assert isinstance(row, MetricRow)
        self._open_table()
        self._put([self._frame.row(_cells(row))])

    def _on_checkpoint(self, event: CheckpointEvent) -> None:
        match event:
            case CheckpointSaved():
                self._step = max(self._step, event.step)
                self._checkpoints.add(event.step)
                kept = self._config.keep_requested == "yes"
                self._note(sentences.checkpoint_saved(event, self._frame, keep_requested=kept), "good")
            case CheckpointPinned():
                self._note(sentences.checkpoint_pinned(event, self._frame), "good")
            case CheckpointDeleted():
                self._checkpoints.discard(event.step)
                self._note(sentences.checkpoint_deleted(event, self._frame), "dim")
            case CheckpointFailed():
                self._note(sentences.checkpoint_failed(event, self._frame), "bad")

    def _note(self, text: str, tone: Tone = "plain") -> None:
        """A row across the table; before training, a line of its own."""
        if not self._announced:
            self._put([self._frame.paint(text, tone)])
            return
        self._open_table()
        self._put(self._frame.note(text, tone))

    def _open_table(self) -> None:
        self._announce()
        if not self._open:
            self._open = True
            self._put(self._frame.head(on_host=self._on_host))

    # The end

    def _on_end(self, event: RunEnded) -> None:
        self.close()
        if event.exit_code == WRONG_REQUEST:
            return  # The request was wrong, and whoever made it is told so in one line.
        self._gap()
        self._put(self._frame.banner(f"TRAINING {event.status.upper()}", _ENDINGS[event.status]))
        self._put([self._totals(event)])
        for line in self._outcome(event):
            self._line(line)

    def _totals(self, event: RunEnded) -> str:
        text = f"Total time: {format_duration(event.seconds)}    Total steps: {event.step}"
        pace = self._pace.steps_per_second
        if pace is None:
            return text
        speeds = f"{sentences.speed(pace, 3)} steps/sec"
        samples = self._pace.samples_per_second
        if samples is not None:
            speeds += f" ({sentences.speed(samples, 2)} samples/sec)"
        return f"{text}    Average speed: {speeds}"

    def _outcome(self, event: RunEnded) -> list[str]:
        """Where the model lies; or why the run ended, and how to go on."""
        if event.status == "completed":
            return [f"Final model: {self._directory.final_model}"]
        lines = [f"Reason: {_reason(event)}"]
        if event.status == "failed":
            lines.append(f"Log: {self._directory.log}")
        if self._can_resume():
            return [*lines, f"Resume with: {resume_command(self._directory.path)}"]
        return [*lines, "No checkpoint was saved, so there is nothing to resume from."]

    def _can_resume(self) -> bool:
        """Whether the folder holds a checkpoint, as far as the events tell."""
        resumed = self._started.resumed_from if self._started else None
        own = resumed and Path(resumed).absolute().parent == self._directory.path.absolute()
        return bool(self._checkpoints or own)

    def _line(self, text: str) -> None:
        self._put([self._frame.text(text)])

    def _gap(self) -> None:
        if not self._quiet:
            self._put([""])

    def _put(self, lines: list[str]) -> None:
        for line in lines:
            self._quiet = False
            self._write(line)


def _reason(event: RunEnded) -> str:
    if event.error:
        return clean_text(event.error)
    signals = {130: "ended by SIGINT (Ctrl+C)", 143: "ended by SIGTERM"}
    return signals.get(event.exit_code, "stopped on request" if event.status == "stopped" else "not known")


def _cells(row: MetricRow) -> list[tuple[str, Tone]]:
    """The figures of a row in the order of the frame's columns."""
    step = f"{row.step}/{row.total_steps}"
    return [
        (step if len(step) <= 14 else str(row.step), "plain"),
        (format_loss(row.loss), _TURNS[row.loss_turn]),
        (format_learning_rate(row.learning_rate), "plain"),
        (_narrow(row.chosen), "plain"),
        (_narrow(row.rejected), "plain"),
        (_narrow(row.margin), _TURNS[row.margin_turn]),
        (format_memory(row.memory_bytes), "plain"),
        (format_rate(row.samples_per_second), "plain"),
        (format_duration(row.eta_seconds), "plain"),
    ]


def _narrow(value: float | None) -> str:
    """A metric in six cells as long as that is possible: fewer decimals, then a power of ten."""
    texts = [format_metric(value)]
    if value is not None and len(texts[0]) > _NARROW:
        texts += [f"{value:.2f}", f"{value:.1f}", f"{value:.0f}", f"{value:.0e}"]
    return next((text for text in texts if len(text) <= _NARROW), texts[-1])
