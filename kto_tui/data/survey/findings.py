"""What a user should know of a data set before it is trained on, and what to do about it."""

from collections.abc import Iterator, Set
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kto_tui.core.datareport import Finding
from kto_tui.data.survey.balance import HIGHEST_RATIO, LOWEST_RATIO
from kto_tui.data.survey.lengths import Lengths, share_longer
from kto_tui.data.survey.marks import WORDS_ALONE
from kto_tui.data.survey.repeats import Repeats
from kto_tui.data.survey.survey import EXAMPLES, MarksSeen, RowSurvey

FEW_ROWS = 100
RARE = 0.05
_ORDER = {"error": 0, "warning": 1, "info": 2}
_MANY = 0.01  # From this share of the rows on, repeats are more than a slip.
_ONE_SIDED = 0.7
_ENOUGH = 20  # Answers of a class from which its lengths say something.
_SAID_OFTEN = 10
Severity = Literal["info", "warning", "error"]


@dataclass(frozen=True)
class Measured:
    """Tokens of each row before truncation, (rows,) in the order of the survey, and the longest row."""

    prompts: Lengths
    completions: Lengths
    max_length: int


@dataclass(frozen=True)
class Asked:
    """What the settings say: `weights` (desirable, undesirable) that the user gave, None for balanced ones.

    `times`: (rows,) how often each is trained on. `names`: the data sets, in the order of the survey.
    `special`: the special tokens of the tokenizer, None where that is not known. `evaluation`: the rows are
    only evaluated on.
    """

    times: NDArray[np.int64]
    names: tuple[str, ...] = ()
    weights: tuple[float, float] | None = None
    special: Set[str] | None = None
    evaluation: bool = False


def find(survey: RowSurvey, repeats: Repeats, measured: Measured | None, asked: Asked) -> list[Finding]:
    """Everything, the worst first."""
    if not asked.times.any():
        return [_finding("no_rows", "error", "there are no rows", "name a file that holds rated rows")]
    found = [
        *_classes(survey, asked),
        *_sources(survey, asked),
        *_repeats(survey, repeats),
        *_answers(survey, repeats, measured),
    ]
    found += [*_marks(survey, asked), *_order(survey)]
    if measured is not None:
        found += _lengths(survey, measured)
    return in_order(found)


def in_order(findings: list[Finding]) -> list[Finding]:
    """The worst first, and of those what concerns most rows."""
    return sorted(findings, key=lambda finding: (_ORDER[finding.severity], -finding.rows))


def share(part: int, whole: int) -> str:
    """A part of the rows: "12 of 1,000 rows (1.2%)"."""
    percent = 100 * part / whole if whole else 0.0
    digits = f"{percent:.1f}" if 0.05 <= percent <= 99.95 or part in (0, whole) else f"{percent:.2g}"
    return f"{part:,} of {whole:,} rows ({digits.removesuffix('.0')}%)"


def _finding(
    kind: str, severity: Severity, message: str, advice: str, rows: int = 0, examples: tuple[str, ...] = ()
) -> Finding:
    return Finding(kind=kind, severity=severity, message=message, advice=advice, rows=rows, examples=examples)


def _examples(survey: RowSurvey, rows: list[int]) -> tuple[str, ...]:
    return tuple(survey.where(row) for row in rows[:EXAMPLES])


def _first(survey: RowSurvey, which: NDArray[np.bool_]) -> tuple[str, ...]:
    return _examples(survey, np.flatnonzero(which).tolist()[:EXAMPLES])


def _classes(survey: RowSurvey, asked: Asked) -> Iterator[Finding]:
    rows, good = int(asked.times.sum()), int(asked.times[survey.labels].sum())
    if not 0 < good < rows:
        kind = "desirable" if good else "undesirable"
        yield _finding(
            "one_class",
            "info" if asked.evaluation else "error",
            f"all {rows:,} rows are {kind}" if rows > 1 else f"the only row is {kind}",
            "no margin can be measured without the other class"
            if asked.evaluation
            else "KTO needs both desirable and undesirable answers; choose the rating with --label-column",
            rows,
        )
        return
    if rows < FEW_ROWS and not asked.evaluation:
        yield _finding(
            "few_rows",
            "warning",
            f"{rows} rows are few",
            "figures will jump from step to step; add rows",
            rows,
        )
    if not asked.evaluation:
        yield from _balance(survey, good, rows - good, asked.weights)


def _sources(survey: RowSurvey, asked: Asked) -> Iterator[Finding]:
    """Data sets of one class among others: meant so, or rated in a way of their own."""
    if len(asked.names) < 2 or asked.evaluation:
        return
    of, labels = survey.sources, survey.labels
    if labels.all() or not labels.any():
        return  # That is told of all of them.
    for number, name in enumerate(asked.names, 1):
        here = of == number
        rows, good = int(here.sum()), int(labels[here].sum())
        if rows and good in (0, rows):
            yield _finding(
                "one_class_source",
                "warning",
                f"{name}: all {rows:,} rows are {'desirable' if good else 'undesirable'}",
                "right for a file of such answers alone; else look at how it is rated (--label-column, "
                "--desirable-at-least)",
                rows,
            )


def _balance(
    survey: RowSurvey, good: int, bad: int, weights: tuple[float, float] | None
) -> Iterator[Finding]:
    rarer, kind = (good, "desirable") if good < bad else (bad, "undesirable")
    if rarer < RARE * (good + bad):
        yield _finding(
            "imbalance",
            "warning",
            f"{kind} answers are rare: {share(rarer, good + bad)}",
            "what is learned from them hangs on a few rows, whatever their weight; add such rows",
            rarer,
            _first(survey, survey.labels == (kind == "desirable")),
        )
    if weights is None:
        return
    ratio = good * weights[0] / (bad * weights[1]) if weights[1] else float("inf")
    if not LOWEST_RATIO * 0.999 <= ratio <= HIGHEST_RATIO * 1.001:
        wanted = "1 and 4/3 (arXiv 2402.01306, eq. 8)"
        yield _finding(
            "weights",
            "warning",
            f"with --class-weights {weights[0]:g}:{weights[1]:g}, desirable rows weigh {ratio:.3g} times as "
            f"much as undesirable ones; the KTO paper keeps this between {wanted}",
            "--class-weights auto keeps to it",
        )


def _repeats(survey: RowSurvey, repeats: Repeats) -> Iterator[Finding]:
    rows = len(survey)
    if count := int(repeats.contradicting.sum()) // 2:
        yield _finding(
            "contradictions",
            "warning",
            f"{count:,} answer{' is' if count == 1 else 's are'} rated both desirable and undesirable, under "
            "the same prompt",
            "such rows pull both ways; decide, or have check-data --fix leave them out",
            2 * count,
            tuple(survey.where(*pair) for pair in repeats.contradictions),
        )
    if count := int(repeats.repeated.sum()):
        yield _finding(
            "duplicates",
            "warning" if count >= _MANY * rows else "info",
            f"repeats of an earlier row, same prompt, answer and label: {share(count, rows)}",
            "each counts once more; check-data --fix leaves them out",
            count,
            tuple(survey.where(*pair) for pair in repeats.repeats),
        )
    if count := repeats.both_labels:
        yield _finding(
            "both_labels",
            "info",
            f"{count:,} prompt{' has' if count == 1 else 's have'} answers of both labels: "
            f"{share(repeats.both_labels_rows, rows)}",
            "good for KTO: they show what makes the difference",
            repeats.both_labels_rows,
        )


def _answers(survey: RowSurvey, repeats: Repeats, measured: Measured | None) -> Iterator[Finding]:
    rows, empty = len(survey), survey.characters == 0
    if count := int(empty.sum()):
        yield _finding(
            "empty_answers",
            "warning",
            f"empty answers: {share(count, rows)}",
            "the model would learn to say nothing; fill them in, or have check-data --fix leave them out",
            count,
            _first(survey, empty),
        )
    said = repeats.most_said
    if said >= _SAID_OFTEN and said >= _MANY * rows:
        yield _finding(
            "repeated_answer",
            "warning" if said >= 10 * _MANY * rows else "info",
            f"one answer stands under many prompts: {share(said, rows)}",
            "fine for labels and fixed replies; else the model learns to say it to anything",
            said,
            _examples(survey, repeats.most_said_rows),
        )
    yield from _length_bias(survey, measured)


def _length_bias(survey: RowSurvey, measured: Measured | None) -> Iterator[Finding]:
    lengths: Lengths = survey.characters if measured is None else measured.completions
    unit = "characters" if measured is None else "tokens"
    good, bad = lengths[survey.labels], lengths[~survey.labels]
    if min(len(good), len(bad)) < _ENOUGH:
        return
    longer = share_longer(good, bad)
    if 1 - _ONE_SIDED < longer < _ONE_SIDED:
        return
    kind = "desirable" if longer > 0.5 else "undesirable"
    medians = [f"{float(np.median(lengths)):,.0f}" for lengths in (good, bad)[:: 1 if longer > 0.5 else -1]]
    figures = "" if medians[0] == medians[1] else f", {medians[0]} against {medians[1]} {unit} (medians),"
    yield _finding(
        "length_bias",
        "warning",
        f"{kind} answers are longer{figures} in {100 * max(longer, 1 - longer):.0f}% of pairs",
        "the model may learn length instead of quality; add answers of like length to both classes",
        len(survey),
    )


def _marks(survey: RowSurvey, asked: Asked) -> Iterator[Finding]:
    for family, seen in survey.marks.items():
        if len(seen.conversations):
            yield _marks_in_conversations(survey, family, seen, asked.special)
        if len(seen.texts) and family not in WORDS_ALONE:
            yield _marks_in_texts(survey, family, seen, asked.special)


def _marks_in_conversations(
    survey: RowSurvey, family: str, seen: MarksSeen, special: Set[str] | None
) -> Finding:
    ours = special is not None and not seen.marks.isdisjoint(special)
    message = f"template marks as text, {_named(family, seen)}: {share(len(seen.conversations), len(survey))}"
    if ours:
        message += "; they are special tokens of this model"
    many = len(seen.conversations) >= _MANY * len(survey)
    return _finding(
        "template_text",
        "warning" if ours or many else "info",
        message,
        "the model's chat template is put around each message: give messages without template text",
        len(seen.conversations),
        _examples(survey, seen.conversations.tolist()),
    )


def _marks_in_texts(survey: RowSurvey, family: str, seen: MarksSeen, special: Set[str] | None) -> Finding:
    """Text is trained on as it stands, so the template in it has to be the model's own."""
    message = (
        f"text written in a chat template, {_named(family, seen)}: {share(len(seen.texts), len(survey))}"
    )
    foreign = special is not None and not seen.marks <= special
    if special is None:
        advice = "right only for a model of that template: name yours with --model-size or --model"
    elif foreign:
        message += "; to this model that is plain text"
        advice = "give prompt and answer as messages (role, content), and the model's own template is used"
    else:
        advice = "they are special tokens of this model, and taken as such"
    severity: Severity = "warning" if foreign else "info"
    return _finding(
        "template_text", severity, message, advice, len(seen.texts), _examples(survey, seen.texts.tolist())
    )


def _named(family: str, seen: MarksSeen) -> str:
    return f"{' '.join(sorted(seen.marks)[:3])} ({family})"


def _order(survey: RowSurvey) -> Iterator[Finding]:
    """Whether rows come sorted by label: far fewer runs of one label than in a random order."""
    labels = survey.labels
    rows, good = len(labels), int(labels.sum())
    expected = 1 + 2 * good * (rows - good) / rows
    ends = np.flatnonzero(np.r_[labels[1:] != labels[:-1], True])
    if expected < 10 or len(ends) > 0.1 * expected:
        return
    lengths = np.diff(np.r_[-1, ends])
    longest = int(np.argmax(lengths))
    first = int(ends[longest] - lengths[longest] + 1)
    yield _finding(
        "label_runs",
        "info",
        f"rows are sorted by label: {int(lengths[longest]):,} in a row are "
        f"{'desirable' if labels[first] else 'undesirable'}",
        "harmless here: blocks hold both labels and are drawn in another order in each epoch",
        int(lengths[longest]),
        (survey.where(first, int(ends[longest])),),
    )


def _class_lost(labels: NDArray[np.bool_], full: NDArray[np.bool_]) -> Iterator[Finding]:
    left = labels[~full]
    for label, kind in ((True, "desirable"), (False, "undesirable")):
        had = int((labels == label).sum())
        if had and not (left == label).any():
            yield _finding(
                "class_lost",
                "error",
                f"none of the {had:,} {kind} rows can be trained on: their prompts fill --max-length",
                "raise --max-length",
                had,
            )


def _lengths(survey: RowSurvey, measured: Measured) -> Iterator[Finding]:
    rows, longest = len(survey), measured.max_length
    full = measured.prompts >= longest
    if count := int(full.sum()):
        yield _finding(
            "prompt_fills_length",
            "warning",
            f"dropped, as the prompt alone fills --max-length {longest}: {share(count, rows)}",
            "raise --max-length, or shorten the prompts",
            count,
            _first(survey, full),
        )
        yield from _class_lost(survey.labels, full)
    whole = measured.prompts.astype(np.int64) + measured.completions
    cut = (whole > longest) & ~full
    if count := int(cut.sum()):
        enough = int(np.ceil(np.percentile(whole, 99) / 64) * 64)
        yield _finding(
            "truncated",
            "warning" if count >= RARE * rows else "info",
            f"cut at --max-length {longest}: {share(count, rows)}",
            f"99% of the rows are whole with --max-length {enough}"
            if enough > longest
            else "their answers lose the end",
            count,
            _first(survey, cut),
        )
