"""A data report as lines of text: whole, as `kto-tui check-data` prints it, and short, before training."""

from collections.abc import Mapping, Sequence

from kto_tui.core.datareport import DataReport, Finding, SourceRead
from kto_tui.insight.text import clean_text, format_whole, full_stop
from kto_tui.report.frame import Frame, Tone
from kto_tui.report.width import shorten, wrap

WIDTH = 80
BAD_ROWS = "bad_rows"
_NAME = 12
_BAR = 40
_FIGURE = 10
_LENGTHS_BAR = 32
_EXAMPLES = 3
_TITLES = {"train": "TRAINING DATA", "eval": "EVALUATION DATA"}
_SEVERITIES: dict[str, tuple[str, Tone]] = {
    "error": ("ERROR", "bad"),
    "warning": ("WARNING", "warning"),
    "info": ("NOTE", "plain"),
}
_PERCENTILES = ("p5", "p50", "p95", "p99", "max")


def format_report(report: DataReport, split: str, frame: Frame, width: int = WIDTH) -> list[str]:
    """Everything, in lines of at most `width` cells. Texts from outside are cleaned here."""
    rule = ("─" if frame.unicode else "-") * width
    title = f"{_TITLES.get(split, split.upper())}: {_rows(report.desirable + report.undesirable)}"
    lines = [frame.text(title), rule]
    lines += [line for source in report.sources for line in _source(source, frame, width)]
    lines += _classes(report, frame)
    lines += _tokens(report, frame)
    lines += _histogram(report, frame)
    lines += _left_out(report, frame, width)
    return [*lines, "", *_findings(report.findings, frame, width)]


def format_checked(
    reports: Mapping[str, DataReport], told: Mapping[str, Sequence[str]], frame: Frame, width: int = WIDTH
) -> list[str]:
    """The reports of all splits, each below the rows of it that cannot be used, as `told` words them."""
    lines: list[str] = []
    for split, report in reports.items():
        lines += [""] if lines else []
        for error in told.get(split, ()):
            lines += [frame.paint(line, "bad") for line in wrap(frame.text(error), width)]
        more = _bad_rows(report) - len(told.get(split, ()))
        lines += [frame.paint(f"... and {more:,} more such rows", "bad")] if more > 0 else []
        lines += [""] if told.get(split) else []
        lines += format_report(report, split, frame, width)
    return lines


def _bad_rows(report: DataReport) -> int:
    return next((finding.rows for finding in report.findings if finding.kind == BAD_ROWS), 0)


def short_report(report: DataReport, split: str) -> list[tuple[str, Tone]]:
    """What has to be known before training: what was read, how long it is, and what is wrong with it."""
    lines: list[tuple[str, Tone]] = [(_read(report, split), "plain")]
    told = [finding for finding in report.findings if finding.severity != "info"]
    lines += [(_sentence(finding), _SEVERITIES[finding.severity][1]) for finding in told]
    return lines


def _read(report: DataReport, split: str) -> str:
    parts = [
        f"{clean_text(source.name)} ({clean_text(source.format)}, {_rows(source.rows)})"
        for source in report.sources[:3]
    ]
    more = len(report.sources) - len(parts)
    parts += [f"{more} more"] if more > 0 else []
    text = f"{'Evaluation data' if split == 'eval' else 'Data'} read: {', '.join(parts) or 'no source'}"
    if not report.completion_tokens:
        return text
    longest = ", ".join(
        f"{name} {format_whole(tokens.get('p99'))}/{format_whole(tokens.get('max'))}"
        for name, tokens in (("prompts", report.prompt_tokens), ("answers", report.completion_tokens))
    )
    return f"{text}; the longest: {longest} tokens (p99/max)"


def _sentence(finding: Finding) -> str:
    """A finding in one line, with its advice and its first place."""
    message = clean_text(finding.message)
    text = f"{_SEVERITIES[finding.severity][0]}: {message}"
    if finding.examples:
        text += f" (first: {clean_text(finding.examples[0], 200)})"
    return (
        f"{text}{full_stop(message)} {_capital(clean_text(finding.advice))}".rstrip()
        if finding.advice
        else text
    )


def _named(name: str, value: str) -> str:
    return f"{name:<{_NAME}}{value}"


def _source(source: SourceRead, frame: Frame, width: int) -> list[str]:
    """Its name, below it the format, and below that what it gave."""
    room = width - _NAME
    name = shorten(frame.text(source.name), room, frame.ellipsis)
    return [
        _named("Read", name),
        *(_named("", line) for line in wrap(frame.text(source.format), room, "")),
        _named("", _given(source)),
        *_unread(source, frame, room),
    ]


def _given(source: SourceRead) -> str:
    again = f" taken {source.weight:g} times" if source.weight != 1 else ""
    records = f"{source.records:,} record{'' if source.records == 1 else 's'}"
    return f"{records}{again}, {_rows(source.rows)}"


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"


def _unread(source: SourceRead, frame: Frame, room: int) -> list[str]:
    if not source.unread:
        return []
    names = frame.text(f"not read: {', '.join(source.unread)}")
    return [_named("", shorten(names, room, frame.ellipsis))]


def _classes(report: DataReport, frame: Frame) -> list[str]:
    rows = report.desirable + report.undesirable
    if not rows:
        return []
    part = report.desirable / rows
    full, rest = ("█", "░") if frame.unicode else ("#", ".")
    good = round(_BAR * part)
    lines = [
        _named("Desirable", f"{full * good}{rest * (_BAR - good)}"),
        _named("", f"{report.desirable:,} ({100 * part:.0f}%); {report.undesirable:,} undesirable"),
    ]
    if report.weights is not None:
        lines.append(_named("Weights", f"{report.weights[0]:.4g} : {report.weights[1]:.4g} in the loss"))
    return lines


def _tokens(report: DataReport, frame: Frame) -> list[str]:
    if not report.completion_tokens:
        return [_named("Tokens", "not counted: name the model with --model-size or --model")]
    head = "".join(f"{name:>{_FIGURE}}" for name in _PERCENTILES)
    rows = [
        _named(f"  {name}", "".join(f"{frame.text(_figure(tokens, key)):>{_FIGURE}}" for key in _PERCENTILES))
        for name, tokens in (("prompts", report.prompt_tokens), ("answers", report.completion_tokens))
    ]
    return [_named("Tokens", head), *rows]


def _figure(tokens: Mapping[str, float], key: str) -> str:
    return format_whole(tokens.get(key))


def _histogram(report: DataReport, frame: Frame) -> list[str]:
    """A bar for each range of lengths; those that --max-length cuts stand out."""
    if not report.histogram:
        return []
    most = max(1, *(each.rows for each in report.histogram))
    mark, dot = ("█", "▏") if frame.unicode else ("#", "|")
    lines = [_named("Rows", f"by tokens, prompt and answer; --max-length {report.max_length:,}")]
    for each in report.histogram:
        drawn = mark * round(_LENGTHS_BAR * each.rows / most) or (dot if each.rows else "")
        tone: Tone = "warning" if each.tokens > report.max_length else "plain"
        upto = f"{'≤' if frame.unicode else '<='} {each.tokens:,}"
        lines.append(f"{upto:>{_NAME - 1}} {frame.paint(drawn, tone) + ' ' if drawn else ''}{each.rows:,}")
    return lines


def _left_out(report: DataReport, frame: Frame, width: int) -> list[str]:
    lines = [_named("Truncated", f"{report.truncated:,}")] if report.completion_tokens else []
    for number, (reason, count) in enumerate(report.dropped.items()):
        text = wrap(frame.text(f"{count:,}: {reason}"), width - _NAME)
        lines += [_named("" if number or place else "Left out", line) for place, line in enumerate(text)]
    return lines


def _findings(findings: Sequence[Finding], frame: Frame, width: int) -> list[str]:
    if not findings:
        return ["Nothing to complain about."]
    lines = []
    for finding in findings:
        word, tone = _SEVERITIES[finding.severity]
        message = wrap(frame.text(finding.message), width - _NAME, "")
        lines += [frame.paint(_named(word, message[0]), tone), *(_named("", line) for line in message[1:])]
        if finding.advice:
            lines += [
                _named("", line) for line in wrap(frame.text(_capital(finding.advice)), width - _NAME, "")
            ]
        lines += _places(finding, frame, width)
    return lines


def _capital(text: str) -> str:
    return text if text.startswith("-") else text[:1].upper() + text[1:]


def _places(finding: Finding, frame: Frame, width: int) -> list[str]:
    """The first rows that have it, each on a line of its own."""
    if finding.kind == BAD_ROWS:
        return []  # Told in full above.
    arrow = "· " if frame.unicode else "- "
    room = width - _NAME - len(arrow)
    shown = [shorten(frame.text(place), room, frame.ellipsis) for place in finding.examples[:_EXAMPLES]]
    return [frame.paint(_named("", arrow + place), "dim") for place in shown]
