"""Is the model that comes out at least as good? TRL as it comes and this engine, judged on unseen rows.

    python -m benchmarks.quality --dataset FILE

Both train the same model on the same rows with the same LoRA, batch, epochs, learning rate and schedule,
once for each seed; each keeps its own defaults in everything else. The adapters are judged by held_out.py.
The model is real: SmolLM2-135M, or its first layers. May take half an hour on two cores.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.child import ChildFailed, ask, discard
from benchmarks.rows import Choice, Chosen
from benchmarks.shapes import Made, Wanted
from benchmarks.sides import LORA_RANK, Trained, Training
from benchmarks.verdicts import Judging, Verdict, Verdicts
from kto_tui.core.config import SAMPLE_DATASET

_SIDES = {"TRL as it comes": "benchmarks.peers", "kto-tui": "benchmarks.engine"}
_BETTER = {"loss": "lower", "margin": "higher", "auc": "higher", "kl": ""}
_FIRST_SEED = 1


def main(arguments: Sequence[str]) -> None:
    """Prints a line for each seed, then mean and spread of each figure for both sides."""
    options = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="kto-quality-") as folder:
        work = Path(folder)
        made, chosen = prepare(options, work)
        introduce(options, made, chosen)
        found: dict[str, list[Verdict]] = {side: [] for side in _SIDES}
        for seed in range(_FIRST_SEED, _FIRST_SEED + options.seeds):
            for side, verdict in one_seed(options, made, work, seed).items():
                found[side].append(verdict)
    print_table(found)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--dataset", default=SAMPLE_DATASET, help="rated rows; default: the packaged sample")
    parser.add_argument("--rows", type=int, default=240, help="rows to train on; the rest is held out")
    parser.add_argument("--layers", type=int, default=10, help="of SmolLM2-135M's 30")
    parser.add_argument("--max-length", type=int, default=512, help="longest row in tokens")
    parser.add_argument("--batch-size", type=int, default=4, help="rows in a micro-batch")
    parser.add_argument("--accumulation", type=int, default=4, help="micro-batches in a step")
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    parser.add_argument("--seeds", type=int, default=3)
    return parser


def prepare(options: argparse.Namespace, work: Path) -> tuple[Made, Chosen]:
    """The model's folder, and the files of the rows to train on and of those held out."""
    wanted = Wanted(folder=str(work / "model"), layers=options.layers, hidden=0)
    made = ask("benchmarks.shapes", wanted, Made)
    choice = Choice(
        source=options.dataset,
        model=wanted.folder,
        file=str(work / "rows.jsonl"),
        count=options.rows,
        max_length=options.max_length,
        rest=str(work / "held-out.jsonl"),
    )
    return made, ask("benchmarks.rows", choice, Chosen)


def introduce(options: argparse.Namespace, made: Made, chosen: Chosen) -> None:
    print(f"quality: {made.parameters / 1e6:.0f}M parameters, {made.shape.describe()}")
    print(
        f"  {len(chosen.lengths)} rows of {options.dataset} in {options.max_length} tokens "
        f"({chosen.desirable} desirable), {chosen.rest} held out, {options.epochs:g} epochs, "
        f"batch {options.batch_size} x {options.accumulation}, learning rate {options.learning_rate:g}, "
        f"LoRA rank {LORA_RANK}",
        flush=True,
    )


def one_seed(options: argparse.Namespace, made: Made, work: Path, seed: int) -> dict[str, Verdict]:
    """Both sides trained with this seed, and judged together."""
    trained = {side: train(options, made, work, side, seed) for side in _SIDES}
    judging = Judging(
        model=str(work / "model"),
        adapters=[str(_output(work, side) / "final_model") for side in _SIDES],
        dataset=str(work / "held-out.jsonl"),
        max_length=options.max_length,
    )
    verdicts = dict(zip(_SIDES, ask("benchmarks.held_out", judging, Verdicts).verdicts, strict=True))
    for side, verdict in verdicts.items():
        discard(_output(work, side))
        steps, seconds = trained[side].steps, trained[side].step_seconds
        print(f"  seed {seed}, {side}: {_shown(verdict)}; {steps} steps in {seconds:.0f} s", flush=True)
    return verdicts


def train(options: argparse.Namespace, made: Made, work: Path, side: str, seed: int) -> Trained:
    order = Training(
        model=str(work / "model"),
        shape=made.shape,
        dataset=str(work / "rows.jsonl"),
        rows=options.rows,
        output=str(_output(work, side)),
        steps=0,
        epochs=options.epochs,
        batch_size=options.batch_size,
        accumulation=options.accumulation,
        max_length=options.max_length,
        learning_rate=options.learning_rate,
        seed=seed,
        device="cpu",
        dtype="float32",
        quantization="none",
        memory_limit_gib=None,
        reference_cache=str(work / "cache"),
    )
    return ask(_SIDES[side], order, Trained)


def _output(work: Path, side: str) -> Path:
    return work / _SIDES[side]


def _shown(verdict: Verdict) -> str:
    return ", ".join(f"{name} {getattr(verdict, name):.4f}" for name in _BETTER)


def print_table(found: dict[str, list[Verdict]]) -> None:
    """Mean and standard deviation over the seeds; the last column compares seed by seed."""
    ours, theirs = found["kto-tui"], found["TRL as it comes"]
    print(f"\nheld out{'':4}{'TRL as it comes':>20}{'kto-tui':>20}{'ours less theirs':>20}")
    for name, better in _BETTER.items():
        columns = [[getattr(v, name) for v in side] for side in (theirs, ours)]
        columns.append([b - a for a, b in zip(*columns, strict=True)])
        cells = "".join(f"{_with_spread(values):>20}" for values in columns)
        print(f"{name:12}{cells}" + (f"  {better} is better" if better else ""))


def _with_spread(values: Sequence[float]) -> str:
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.4f} ± {spread:.4f}"


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ChildFailed as failure:
        sys.exit(str(failure))
