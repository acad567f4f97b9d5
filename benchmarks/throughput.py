"""TRL's KTOTrainer, with and without its precomputed reference, against this engine, cold and warm.

    python -m benchmarks.throughput --dataset FILE --max-length 1024 --batch-size 8

All four sides train the same rows on the same model with the same LoRA, micro-batch and dtype, in turns,
each in a process of its own. Only training steps are timed; loading, tokenizing and saving are in the
table's last column alone. TRL keeps its defaults where they are no part of that, and so do we.

On a GPU (written without one at hand, so not tried there yet):

    python -m benchmarks.throughput --device cuda --dtype bf16 --quantization nf4 --memory-limit-gib 24
        --hidden-size 4096 --layers 32 --max-length 2048 --batch-size 8 --rounds 1 --minutes 60
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import figures
from benchmarks.child import ChildFailed, ask, discard
from benchmarks.figures import COLD, PRECOMPUTED, TRL, WARM, Round, Setting
from benchmarks.floor import trained_lengths
from benchmarks.rows import GENERATED, Choice, Chosen
from benchmarks.shapes import Made, Wanted
from benchmarks.sides import Trained, Training

_LEARNING_RATE = 1e-5
_SEED = 42
_DTYPES = {"fp32": "float32", "bf16": "bfloat16"}


def main(arguments: Sequence[str] = ()) -> None:
    """Prints the tables of one setting. Without arguments, in at most five minutes on two cores."""
    begun = time.monotonic()
    options = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="kto-throughput-") as folder:
        setting = prepare(options, Path(folder))
        figures.introduce(setting)
        rounds = take_rounds(setting, Path(folder), begun + 60 * options.minutes)
    figures.print_all(setting, rounds)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--dataset", default=GENERATED, help="rated rows; default: made up, in real lengths")
    parser.add_argument("--max-length", type=int, default=512, help="longest row in tokens")
    parser.add_argument("--batch-size", type=int, default=4, help="rows in a step")
    parser.add_argument("--steps", type=int, default=4, help="steps of each side in a round")
    parser.add_argument("--hidden-size", type=int, default=256, help="width; 0: cut SmolLM2-135M instead")
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--minutes", type=float, default=5, help="begin no further round that would end later"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=_DTYPES, default="fp32")
    parser.add_argument("--quantization", choices=("none", "nf4"), default="none")
    parser.add_argument("--memory-limit-gib", type=float, help="how much of the GPU's memory a side may take")
    return parser


def prepare(options: argparse.Namespace, work: Path) -> Setting:
    """The model's folder and the rows' file, made below `work`."""
    if options.hidden_size % (64 if options.hidden_size <= 2048 else 128):
        sys.exit(f"--hidden-size {options.hidden_size}: expected a multiple of 64, or of 128 above 2048")
    if options.memory_limit_gib is not None and options.device != "cuda":
        sys.exit("--memory-limit-gib: only a GPU's memory can be limited; give --device cuda too")
    wanted = Wanted(
        folder=str(work / "model"),
        layers=options.layers,
        hidden=options.hidden_size,
        dtype=_DTYPES[options.dtype],
    )
    made = ask("benchmarks.shapes", wanted, Made, device=options.device)
    choice = Choice(
        source=options.dataset,
        model=wanted.folder,
        file=str(work / "rows.jsonl"),
        count=options.steps * options.batch_size,
        max_length=options.max_length,
    )
    chosen = ask("benchmarks.rows", choice, Chosen)
    lengths = trained_lengths(chosen.lengths, options.batch_size, options.max_length)
    return Setting(options, made, chosen, lengths)


def take_rounds(setting: Setting, work: Path, deadline: float) -> list[Round]:
    """All sides in turns, so many rounds as asked for or as end before the deadline; at least one."""
    rounds: list[Round] = []
    longest = 0.0
    while not rounds or (len(rounds) < setting.options.rounds and time.monotonic() + longest < deadline):
        begun = time.monotonic()
        rounds.append(take_round(setting, work))
        longest = max(longest, time.monotonic() - begun)
        print(figures.shortly(len(rounds), rounds[-1]), flush=True)
    return rounds


def take_round(setting: Setting, work: Path) -> Round:
    """Each side once. The cold one fills the reference cache that the warm one finds."""
    cache = work / "cache"
    sides: dict[str, tuple[str, dict[str, object]]] = {
        TRL: ("benchmarks.peers", {}),
        PRECOMPUTED: ("benchmarks.peers", {"precompute": True}),
        COLD: ("benchmarks.engine", {"reference_cache": str(cache)}),
        WARM: ("benchmarks.engine", {"reference_cache": str(cache)}),
    }
    found = {side: train(setting, work, module, extra) for side, (module, extra) in sides.items()}
    discard(cache)
    return found


def train(setting: Setting, work: Path, module: str, extra: dict[str, object]) -> Trained:
    """One side's training. What it wrote is thrown away, but for the cache."""
    options = setting.options
    order = Training(
        model=str(work / "model"),
        shape=setting.made.shape,
        dataset=str(work / "rows.jsonl"),
        rows=len(setting.lengths),
        output=str(work / "output"),
        steps=options.steps,
        epochs=1.0,
        batch_size=options.batch_size,
        accumulation=1,
        max_length=options.max_length,
        learning_rate=_LEARNING_RATE,
        seed=_SEED,
        device=options.device,
        dtype=_DTYPES[options.dtype],
        quantization=options.quantization,
        memory_limit_gib=options.memory_limit_gib,
        **extra,  # type: ignore[arg-type]
    )
    trained = ask(module, order, Trained, device=options.device)
    discard(work / "output")
    assert trained.steps == options.steps, f"{module} made {trained.steps} steps"
    return trained


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ChildFailed as failure:
        sys.exit(str(failure))
