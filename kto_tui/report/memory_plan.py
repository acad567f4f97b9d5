"""The memory plan as lines: parts, total, what is there, what would fit, what to change first."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from kto_tui.insight.text import clean_text
from kto_tui.report.aligned import Side, aligned
from kto_tui.sizing.devices import Device
from kto_tui.sizing.fitting import Advice
from kto_tui.sizing.memory import MemoryPlan, in_words

_ORIGINS = {
    "tokens": "longest of the data",
    "sampled": "about, by the tokens of the data's longest rows",
    "bytes": "at most, by the bytes of the data's text",
    "max_length": "max_length",
}
_PARTS: tuple[Side, ...] = ("left", "right", "left")
_PAIRS: tuple[Side, ...] = ("left", "left")
_GIB = 1 << 30
_WIDTH = 76


@dataclass(frozen=True)
class MemoryReport:
    """A plan on its device, and what follows from it.

    `largest_batch` at the plan's length, `largest_length` at its batch; None where there is none.
    `seconds_a_step`: of an earlier run alike, if there was one. `notes`: what was changed or guessed.
    """

    plan: MemoryPlan
    device: Device
    largest_batch: int | None
    largest_length: int | None
    advice: Sequence[Advice]
    seconds_a_step: float | None = None
    notes: Sequence[str] = ()

    @property
    def fits(self) -> bool:
        return self.plan.total_bytes <= self.device.available_bytes


def memory_lines(report: MemoryReport) -> list[str]:
    """The section below its title, unindented."""
    plan = report.plan
    parts = [(part.name, _gib(part.bytes), part.why) for part in plan.parts]
    room = f"{clean_text(report.device.name)}, {_gib(report.device.total_bytes)} GiB in all"
    if plan.kind != "cpu":
        room += " on the card"
    rows = [
        ("", "GiB", f"at its peak, in {plan.peak}"),
        *parts,
        ("total", _gib(plan.total_bytes), _verdict(report)),
        ("there", _gib(report.device.available_bytes), room),
    ]
    pairs = [(name + ":", value) for name, value in _facts(report)]
    lines = [*aligned(rows, _PARTS), "", *aligned(pairs, _PAIRS)]
    if changes := _changes(report):
        lines += ["", "to change first:" if not report.fits else "if it is to take less:", *changes]
    for note in report.notes:
        lines += textwrap.wrap(f"note: {clean_text(note)}", _WIDTH, subsequent_indent="  ")
    return lines


def _verdict(report: MemoryReport) -> str:
    plan, spare = report.plan, report.device.available_bytes - report.plan.total_bytes
    if spare >= 0:
        return f"FITS, {_gib(spare)} to spare"
    if plan.weights_bytes > report.device.total_bytes:
        return f"DOES NOT FIT: the weights alone take {_gib(plan.weights_bytes)}"
    return f"DOES NOT FIT, {_gib(-spare)} too much"


def _facts(report: MemoryReport) -> list[tuple[str, str]]:
    plan = report.plan
    length = f"{plan.lengths.longest:,} tokens"
    source = _ORIGINS[plan.lengths.origin]
    share = 100 * plan.trainable / plan.parameters
    batch, longest = report.largest_batch, report.largest_length
    seconds = report.seconds_a_step
    return [
        ("parameters", f"{in_words(plan.parameters)}, {in_words(plan.trainable)} trained ({share:.2g}%)"),
        ("stored as", f"{plan.storage.quantization}, computed in {plan.storage.dtype}"),
        ("rows of", f"{length} ({source})"),
        ("checkpointing", "on" if plan.checkpointing else "off"),
        ("largest micro-batch", "none" if batch is None else f"{batch:,} rows of {length}"),
        ("largest length", "none" if longest is None else f"{longest:,} tokens, {plan.batch} rows at once"),
        ("seconds a step", "not known before the first run" if seconds is None else f"about {seconds:.3g}"),
    ]


def _changes(report: MemoryReport) -> list[str]:
    found = [
        (f"  {each.change}", f"saves {_gib(each.saved_bytes)} GiB" + (", and fits" if each.enough else ""))
        for each in report.advice
    ]
    if not report.fits and not any(each.enough for each in report.advice):
        found.append(("  several of these, or a smaller model", ""))
    return aligned(found, _PAIRS) if found else []


def _gib(size: int) -> str:
    return f"{size / _GIB:.2f}"
