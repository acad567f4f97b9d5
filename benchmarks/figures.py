"""What throughput.py measured, as tables."""

import argparse
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from benchmarks.floor import Lengths, operations
from benchmarks.rows import Chosen
from benchmarks.shapes import Made
from benchmarks.sides import LORA_RANK, Trained

TRL, PRECOMPUTED, COLD, WARM = "TRL as it comes", "TRL, precomputed", "kto-tui, cold", "kto-tui, warm"
# (length, batch) -> how many times as fast as TRL as it comes, cold and warm; issue 3, on a CPU.
_AIMS = {(1024, 8): (2.2, 3.2), (2048, 8): (2.5, 4.0), (512, 4): (1.5, 2.5)}
_WARM_AGAINST_PRECOMPUTED = 1.8
_GIB = 2**30

Round = Mapping[str, Trained]


@dataclass(frozen=True)
class Setting:
    """What is measured: the options, the model that was made for them, and the rows."""

    options: argparse.Namespace
    made: Made
    chosen: Chosen
    lengths: Sequence[Lengths]

    @property
    def tokens(self) -> int:
        """Tokens of all prompts and answers that are trained on."""
        return sum(row.prompt + row.answer for row in self.lengths)

    @property
    def padded_tokens(self) -> int:
        """What those come to in TRL's batches: so many rows in the file's order, padded to the longest."""
        size = self.options.batch_size
        batches = [self.lengths[start : start + size] for start in range(0, len(self.lengths), size)]
        return sum(len(batch) * max(row.prompt + row.answer for row in batch) for batch in batches)


def introduce(setting: Setting) -> None:
    options, made, chosen = setting.options, setting.made, setting.chosen
    versions = f"TRL {version('trl')}, torch {version('torch')}"
    print(f"throughput of KTO: {versions}, {options.device}, {options.dtype}")
    print(f"  model: {made.shape.describe()}; {made.parameters / 1e6:.1f}M parameters, LoRA rank {LORA_RANK}")
    print(f"  tokenizer: {made.tokenizer}")
    print(
        f"  rows: {len(chosen.lengths)} of {options.dataset}, {chosen.desirable} desirable; "
        f"{chosen.too_long} left out whose prompt fills {options.max_length} tokens"
    )
    print(
        f"  each side, a round: {options.steps} steps of {options.batch_size} rows, {setting.tokens} tokens; "
        f"{1 - setting.tokens / setting.padded_tokens:.0%} of what TRL's batches hold is padding",
        flush=True,
    )


def shortly(number: int, sides: Round) -> str:
    """A line to see how a round went."""
    return f"  round {number}: " + "; ".join(f"{side} {each(t):.2f} s a step" for side, t in sides.items())


def each(trained: Trained) -> float:
    """Seconds a step."""
    return trained.step_seconds / trained.steps


def print_all(setting: Setting, rounds: Sequence[Round]) -> None:
    print_table(setting, rounds)
    print_ratios(setting, rounds)
    print_floor(setting, rounds)


def print_table(setting: Setting, rounds: Sequence[Round]) -> None:
    """Medians of all rounds."""
    memory = "peak GiB" if setting.options.device == "cpu" else "peak / reserved GiB"
    print(
        f"\n{'':18}{'s/step':>8}{'samples/s':>11}{'tokens/s':>10}{memory:>{len(memory) + 2}}"
        f"{'reference before':>18}{'whole process':>15}"
    )
    for side in (TRL, PRECOMPUTED, COLD, WARM):
        print(f"{side:18}" + _row(setting, [sides[side] for sides in rounds]))


def _row(setting: Setting, trained: Sequence[Trained]) -> str:
    seconds = statistics.median(map(each, trained))
    step_tokens = setting.tokens / setting.options.steps
    peak = max(t.peak_bytes for t in trained) / _GIB
    cells = f"{seconds:8.2f}{setting.options.batch_size / seconds:11.2f}{step_tokens / seconds:10.0f}"
    if setting.options.device == "cpu":
        cells += f"{peak:10.2f}"
    else:
        cells += f"{peak:11.2f} / {max(t.reserved_bytes for t in trained) / _GIB:7.2f}"
    before = statistics.median(t.precompute_seconds for t in trained)
    cells += f"{before:16.1f} s" if before else f"{'-':>18}"
    return cells + f"{statistics.median(t.process_seconds for t in trained):13.1f} s"


def print_ratios(setting: Setting, rounds: Sequence[Round]) -> None:
    """The median of the rounds' ratios, since the machine drifts from one to the next."""
    options = setting.options
    known = _AIMS.get((options.max_length, options.batch_size)) if options.device == "cpu" else None
    cold, warm = known or (None, None)

    def line(what: str, ratio: Callable[[Round], float], aim: str = "") -> None:
        of_rounds = [ratio(sides) for sides in rounds]
        spread = f"{min(of_rounds):.2f} to {max(of_rounds):.2f}" if len(rounds) > 1 else "one round"
        print(f"  {what}: {statistics.median(of_rounds):.2f} ({spread}){aim}")

    def faster(side: str, than: str) -> Callable[[Round], float]:
        return lambda sides: each(sides[than]) / each(sides[side])

    def memory(side: str) -> Callable[[Round], float]:
        return lambda sides: sides[side].peak_bytes / sides[TRL].peak_bytes

    print(f"\ntimes as fast, median of {len(rounds)} round{'s' if len(rounds) > 1 else ''}")
    line("cold against TRL as it comes", faster(COLD, TRL), _aim(cold))
    line("warm against TRL as it comes", faster(WARM, TRL), _aim(warm))
    line("warm against TRL precomputed", faster(WARM, PRECOMPUTED), _aim(_WARM_AGAINST_PRECOMPUTED))
    line("TRL precomputed against TRL as it comes", faster(PRECOMPUTED, TRL))
    line("  the same, the precompute counted", _with_precompute)
    print("peak memory, TRL as it comes = 1")
    line("cold", memory(COLD), "; aim: at most 1")
    line("warm", memory(WARM), "; aim: at most 1")


def _aim(least: float | None) -> str:
    return f"; aim: {least}" if least else ""


def _with_precompute(sides: Round) -> float:
    ours = sides[PRECOMPUTED]
    return sides[TRL].step_seconds / (ours.step_seconds + ours.precompute_seconds)


def print_floor(setting: Setting, rounds: Sequence[Round]) -> None:
    """What has to be computed at this machine's own matrix rate, and how far each side is from it."""
    rate = statistics.median(t.flops_per_second for sides in rounds for t in sides.values())
    print(
        f"\nfloor: nothing but the products that are needed, over tokens alone, at this machine's "
        f"{rate / 1e9:.0f} GFLOP/s ({setting.made.shape.hidden} x {setting.made.shape.intermediate})"
    )
    for name, cold, sides in (("cold", True, (TRL, COLD)), ("warm", False, (PRECOMPUTED, WARM))):
        whole = operations(setting.made.shape, setting.lengths, LORA_RANK, cold=cold)
        needed = whole / setting.options.steps
        floor = needed / rate
        print(
            f"  {name}: {needed / 1e9:.0f} GFLOP, {floor:.2f} s a step; times that: "
            + ", ".join(f"{side} {_median_step(rounds, side) / floor:.2f}" for side in sides)
        )


def _median_step(rounds: Sequence[Round], side: str) -> float:
    return statistics.median(each(sides[side]) for sides in rounds)
