"""What would run: the settings as resolved, the data, and the steps that follow from them."""

from kto_tui.core.config import GROUPS, START_ONLY, RunConfig, settings
from kto_tui.core.counts import Counts
from kto_tui.core.schedule import held_out_rows, steps_per_epoch, total_steps
from kto_tui.insight.text import clean_text
from kto_tui.report.aligned import Side, aligned
from kto_tui.report.memory_plan import MemoryReport, memory_lines

_SIDES: tuple[Side, ...] = ("left", "left")


def format_plan(
    config: RunConfig,
    data: Counts,
    evaluation: Counts | None,
    memory: MemoryReport | str | None = None,
) -> str:
    """Settings by group, data counts and steps, as lines of `name: value`; then the memory plan.

    `memory`: the plan, or why there is none.

    Rows that tokenizing drops are not known yet, so the steps are those of the rows as counted; and with
    --eval-fraction how many are held out is an estimate, as rows of one prompt stay together.
    """
    parts = [(group, _settings_of(group, config)) for group in GROUPS]
    parts.append(("Rows", _counts(config, data, evaluation)))
    parts.append(("Steps", _steps(config, data)))
    width = max(len(name) for _, lines in parts for name, _ in lines) + 1
    blocks = []
    for title, lines in parts:
        named = [((name + ":").ljust(width), value) for name, value in lines]
        blocks.append("\n".join([title, *("  " + line for line in aligned(named, _SIDES))]))
    if memory is not None:
        blocks.append(_memory(memory))
    return "\n\n".join(blocks) + "\n"


def _memory(memory: MemoryReport | str) -> str:
    lines = [f"none: {clean_text(memory)}"] if isinstance(memory, str) else memory_lines(memory)
    return "\n".join(["Memory", *(f"  {line}".rstrip() for line in lines)])


def _settings_of(group: str, config: RunConfig) -> list[tuple[str, str]]:
    return [
        (name, _value(getattr(config, name)))
        for name, setting in settings().items()
        if setting.doc.group == group and name not in START_ONLY
    ]


def _value(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    return clean_text(str(value))


def _counts(config: RunConfig, data: Counts, evaluation: Counts | None) -> list[tuple[str, str]]:
    if config.eval_fraction is not None:
        held_out = held_out_rows(config, data.total)
        share = f"{100 * config.eval_fraction:.3g}% of the rows, about {held_out:,}"
        return [("training", f"about {data.total - held_out:,} of {_classes(data)}"), ("evaluation", share)]
    lines = [("training", _classes(data))]
    return [*lines, ("evaluation", _classes(evaluation))] if evaluation else lines


def _classes(counts: Counts) -> str:
    return f"{counts.total:,} ({counts.desirable:,} desirable, {counts.undesirable:,} undesirable)"


def _steps(config: RunConfig, data: Counts) -> list[tuple[str, str]]:
    rows = data.total - held_out_rows(config, data.total)
    per_epoch = steps_per_epoch(config, rows)
    total = total_steps(config, rows)
    about = "" if config.eval_fraction is None else "about "
    exact = config.max_steps is not None
    effective = config.batch_size * config.gradient_accumulation_steps
    return [
        (
            "effective batch",
            f"{effective} rows ({config.batch_size} x {config.gradient_accumulation_steps})",
        ),
        ("steps per epoch", f"{about}{per_epoch:,}"),
        (
            "total steps",
            f"{'' if exact else about}{total:,} ({about if exact else ''}{total / per_epoch:.3g} epochs)",
        ),
    ]
