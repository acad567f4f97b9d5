"""The rows of a run as they are read, and the report on them once they are tokenized."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from transformers import PreTrainedTokenizerBase

from kto_tui.core.config import RunConfig
from kto_tui.core.config import class_weights as weights_given
from kto_tui.core.datareport import DataReport, Finding, SourceRead
from kto_tui.data.load import Columns, OpenedSource, open_dataset
from kto_tui.data.survey import RowSurvey, build_report, leaks
from kto_tui.data.survey.unused import unused
from kto_tui.training.dataset import Prepared
from kto_tui.training.left_out import left_out
from kto_tui.training.space import writing
from kto_tui.training.spool import RowSpool
from kto_tui.training.weights import chosen_weights

Split = Literal["train", "eval"]


@dataclass(frozen=True)
class ReadRows:
    """The rows of a split, the data sets that they come from, and records that were skipped, by reason.

    `findings`: what opening them told.
    """

    rows: RowSpool
    survey: RowSurvey
    sources: tuple[SourceRead, ...]
    skipped: Mapping[str, int]
    findings: tuple[Finding, ...] = ()

    def part(self, rows: RowSpool) -> "ReadRows":
        """Some of the rows, chosen out of these, of the same sources."""
        return replace(self, rows=rows, survey=self.survey.chosen(rows.numbers))


def read_rows(config: RunConfig, dataset: str) -> ReadRows:
    """All rows of the data sets that `dataset` names, in their order.

    They wait beside the run's other files. Raises UserError for a row that is no good, OSError for a disk.
    """
    home = Path(config.output_dir) if config.output_dir and Path(config.output_dir).is_dir() else None
    spool, survey = RowSpool(home), RowSurvey()
    opened = open_dataset(dataset, Columns.of(config), config.seed)
    with writing("the rows", home or Path.cwd()):
        read = tuple(_read(part, spool, survey) for part in opened)
    skipped: Counter[str] = Counter()
    for part in opened:
        skipped.update(part.skipped)
    return ReadRows(spool, survey, read, skipped, tuple(unused(opened)))


def _read(part: OpenedSource, spool: RowSpool, survey: RowSurvey) -> SourceRead:
    before = len(spool)
    survey.begin_source()
    for row in part.rows():
        spool.append(row)
        survey.add(row)
    return part.told(len(spool) - before)


def reports(
    config: RunConfig,
    read: Mapping[Split, ReadRows],
    prepared: Mapping[Split, Prepared],
    tokenizer: PreTrainedTokenizerBase,
) -> dict[Split, DataReport]:
    """A report on each split: on training's own rows, and on those to evaluate on, leaks included."""
    train = prepared["train"]
    weights = chosen_weights(config, train.desirable, train.undesirable)
    found: dict[Split, DataReport] = {}
    for split, given in read.items():
        evaluation = split == "eval"
        more: list[Finding] = leaks(read["train"].survey, given.survey) if evaluation else [*given.findings]
        more += left_out(given.survey, tokenizer)
        whole = prepared[split].whole
        found[split] = build_report(
            given.survey,
            sources=given.sources,
            prompt_lengths=whole.prompt_lengths,
            completion_lengths=whole.sizes - whole.prompt_lengths,
            max_length=config.max_length,
            dropped=given.skipped,
            weights=None if evaluation else weights,
            weights_given=weights_given(config.class_weights) is not None,
            special_tokens={*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()},
            evaluation=evaluation,
            more=more,
        )
    return found
