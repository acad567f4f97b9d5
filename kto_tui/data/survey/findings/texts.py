"""What rows say: repeats, contradictions, empty answers, one class with longer answers, template marks."""

from collections.abc import Iterator, Set

import numpy as np

from kto_tui.core.datareport import Finding
from kto_tui.data.survey.findings.base import (
    MANY,
    Asked,
    Measured,
    Severity,
    examples,
    finding,
    first,
    share,
)
from kto_tui.data.survey.lengths import Lengths, share_longer
from kto_tui.data.survey.marks import WORDS_ALONE
from kto_tui.data.survey.repeats import Repeats
from kto_tui.data.survey.survey import MarksSeen, RowSurvey

_ONE_SIDED = 0.7
_ENOUGH = 20  # Answers of a class from which its lengths say something.
_SAID_OFTEN = 10


def of_texts(
    survey: RowSurvey, repeats: Repeats, measured: Measured | None, asked: Asked
) -> Iterator[Finding]:
    """All of it."""
    yield from _repeats(survey, repeats)
    yield from _answers(survey, repeats, measured)
    yield from _marks(survey, asked)


def _repeats(survey: RowSurvey, repeats: Repeats) -> Iterator[Finding]:
    rows = len(survey)
    if count := int(repeats.contradicting.sum()) // 2:
        yield finding(
            "contradictions",
            "warning",
            f"{count:,} answer{' is' if count == 1 else 's are'} rated both desirable and undesirable, under "
            "the same prompt",
            "such rows pull both ways; decide, or have check-data --fix leave them out",
            2 * count,
            tuple(survey.where(*pair) for pair in repeats.contradictions),
        )
    if count := int(repeats.repeated.sum()):
        yield finding(
            "duplicates",
            "warning" if count >= MANY * rows else "info",
            f"repeats of an earlier row, same prompt, answer and label: {share(count, rows)}",
            "each counts once more; check-data --fix leaves them out",
            count,
            tuple(survey.where(*pair) for pair in repeats.repeats),
        )
    if count := repeats.both_labels:
        yield finding(
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
        yield finding(
            "empty_answers",
            "warning",
            f"empty answers: {share(count, rows)}",
            "the model would learn to say nothing; fill them in, or have check-data --fix leave them out",
            count,
            first(survey, empty),
        )
    said = repeats.most_said
    if said >= _SAID_OFTEN and said >= MANY * rows:
        yield finding(
            "repeated_answer",
            "warning" if said >= 10 * MANY * rows else "info",
            f"one answer stands under many prompts: {share(said, rows)}",
            "fine for labels and fixed replies; else the model learns to say it to anything",
            said,
            examples(survey, repeats.most_said_rows),
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
    yield finding(
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
    many = len(seen.conversations) >= MANY * len(survey)
    return finding(
        "template_text",
        "warning" if ours or many else "info",
        message,
        "the model's chat template is put around each message: give messages without template text",
        len(seen.conversations),
        examples(survey, seen.conversations.tolist()),
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
    return finding(
        "template_text", severity, message, advice, len(seen.texts), examples(survey, seen.texts.tolist())
    )


def _named(family: str, seen: MarksSeen) -> str:
    return f"{' '.join(sorted(seen.marks)[:3])} ({family})"
