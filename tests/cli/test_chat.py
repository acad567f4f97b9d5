"""`kto-tui chat` without a model: how answers are drawn, and the process that gives them."""

import io
import itertools
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kto_tui.cli import main
from kto_tui.cli.chat import Conversation, _whole
from kto_tui.cli.columns import OneAfterTheOther, SideBySide, harmless, wrapped
from kto_tui.cli.helper import Helper, HelperDied
from kto_tui.core.config import RunConfig, to_yaml
from kto_tui.core.errors import UserError
from kto_tui.core.events import ModelLoaded
from kto_tui.report.width import display_width, pad
from kto_tui.run.trained import Trained

HEADINGS = {"base": "base: b", "tuned": "tuned: t"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("é 漢 👩\u200d💻\n", "é 漢 👩\u200d💻\n"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\rb\x07\x9b", "a\\rb\\x07\\x9b"),
        ("\u202eabc\u2028\ud800", "\\u202eabc\\u2028\\ud800"),
        ("a\tb\u3000c\xa0d", "a    b c d"),
    ],
)
def test_nothing_of_a_model_steers_the_terminal(text: str, shown: str) -> None:
    assert harmless(text) == shown


def test_an_escape_is_not_torn() -> None:
    assert wrapped(harmless("abcdef\x1b\x07"), 8) == ["abcdef", "\\x1b\\x07"]
    assert wrapped(harmless("\U000e0001"), 4) == ["\\U00", "0e00", "01"]  # There is no room for it.


def test_what_was_no_utf8_has_a_mark_in_its_place() -> None:
    assert _whole("caf\udce9 é 👩\u200d💻") == "caf\ufffd é 👩\u200d💻"


@given(st.text(), st.text(), st.integers(2, 40))
def test_only_the_last_line_changes_as_a_text_grows(text: str, more: str, width: int) -> None:
    """And no line is wider than its column."""
    before, after = wrapped(harmless(text), width), wrapped(harmless(text + more), width)
    assert all(display_width(line) <= width for line in after)
    assert after[: len(before) - 1] == before[:-1]


@given(st.lists(st.tuples(st.sampled_from(["base", "tuned"]), st.text(max_size=30)), max_size=12))
def test_columns_show_both_answers_in_whatever_pieces(pieces: list[tuple[str, str]]) -> None:
    out = io.StringIO()
    view = SideBySide(out.write, HEADINGS, 44)
    for who, text in pieces:
        view.add(who, text)
    view.end()
    rows = [line.rpartition("\x1b[K")[2] for line in out.getvalue().split("\n")][2:-1]
    wanted = [
        wrapped(harmless("".join(text for name, text in pieces if name == who)), 20) for who in HEADINGS
    ]
    pairs = itertools.zip_longest(*wanted, fillvalue="")
    assert rows == [f"{pad(left, 20)} │ {pad(right, 20)}" for left, right in pairs]


def test_a_row_stands_once_both_have_passed_it() -> None:
    out = io.StringIO()
    view = SideBySide(out.write, HEADINGS, 24)
    view.add("base", "one two three four")
    assert "\n" not in out.getvalue().partition("┼")[2].partition("\n")[2]
    view.add("tuned", "eins\nzwei")
    assert out.getvalue().endswith("one two    │ eins      \n" + "three four │ zwei")
    view.end()
    assert out.getvalue().count("one two    │ eins") == 1


def test_the_longer_answer_goes_on_growing_once_the_other_has_ended() -> None:
    out = io.StringIO()
    view = SideBySide(out.write, HEADINGS, 24)
    view.add("base", "short")
    view.add("tuned", "eins\n")
    assert "eins" not in rows_that_stand(out)
    view.ended("base")
    assert "eins" in rows_that_stand(out)
    view.add("tuned", "zwei\ndrei\n")
    assert "zwei" in rows_that_stand(out)
    assert "drei" in rows_that_stand(out)
    view.ended("tuned")
    view.end()
    rows = [line.rpartition("\x1b[K")[2] for line in out.getvalue().split("\n")][2:-1]
    assert [row.replace(" ", "") for row in rows] == ["short│eins", "│zwei", "│drei", "│"]


def rows_that_stand(out: io.StringIO) -> str:
    """What was written for good: all lines but the last."""
    return out.getvalue().rpartition("\n")[0]


def test_one_after_the_other_shows_every_heading() -> None:
    out = io.StringIO()
    view = OneAfterTheOther(out.write, HEADINGS)
    view.add("base", "a\x1b")
    view.add("base", "b")
    view.end()
    assert out.getvalue() == "── base: b ──\na\\x1bb\n── tuned: t ──\n"


def test_a_narrow_terminal_gets_whole_words() -> None:
    out = io.StringIO()
    view = OneAfterTheOther(out.write, HEADINGS, 11)
    for text in ("one two th", "ree four", "\n", "end"):
        view.add("base", text)
    view.add("tuned", "x")
    view.end()
    rows = [row.rpartition("\x1b[K")[2] for row in out.getvalue().split("\n")]
    assert rows == ["── base: b ──", "one two", "three four", "end", "── tuned: t ──", "x", ""]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module for `python -m helping`: what it does is written by the test."""
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{Path.cwd()}")
    return tmp_path / "helping.py"


def serving(body: str) -> str:
    return textwrap.dedent(
        f"""
        import os, sys, time
        from kto_tui.core.errors import UserError
        from kto_tui.training.after.pipe import serve
        def work(pipe, request):
            {body}
        sys.exit(serve(work))
        """
    )


def heard(request: object = None) -> list[dict[str, object]]:
    with Helper("helping", {"of": request}) as helper:
        return list(helper.told())


def test_what_the_process_prints_does_not_disturb(module: Path) -> None:
    module.write_text(serving("print('noise'); os.system('echo more'); pipe.say('x', of=request['of'])"))
    assert heard("é\n") == [{"kind": "x", "of": "é\n"}]


def test_what_it_refuses_is_the_users_error(module: Path) -> None:
    module.write_text(serving("raise UserError('--x: wrong')"))
    with pytest.raises(UserError, match=r"^--x: wrong$"):
        heard()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise KeyError('x')", "KeyError: 'x'"),
        ("print('last \\x1b words'); os._exit(3)", r"ended with code 3; its last words: last \\x1b words"),
        ("os.kill(os.getpid(), 9)", "is the memory short"),
    ],
)
def test_its_death_is_told_in_one_line(module: Path, body: str, words: str) -> None:
    module.write_text(serving(body))
    with pytest.raises(HelperDied, match=words):
        heard()


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_another_base_than_the_run_s_is_told(
    module: Path, tmp_path: Path, quantization: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a run in four bits is talked to where there is no GPU."""
    module.write_text(
        serving("pipe.say('ready', template=True, device='cpu', quantization='none', dtype='float32')")
    )
    said = ModelLoaded(
        name="m",
        parameters=1,
        trainable_parameters=1,
        quantization=quantization,
        dtype="float32",
        device="cuda:0",
    )
    with Helper("helping", {}) as helper:
        Conversation(helper, Trained(tmp_path, RunConfig(model="m"), base=said)).begin()
    told = capsys.readouterr().err
    if quantization == "none":
        assert told == ""
    else:
        assert "the run trained on the base in float32, quantization nf4 (cuda:0); here it is" in told


def test_a_stop_reaches_it_while_it_works(module: Path) -> None:
    module.write_text(serving("pipe.say('begun'); pipe.stopped.wait(30); pipe.say('ended')"))
    with Helper("helping", {}) as helper:
        kinds = []
        for told in helper.told():
            kinds.append(told["kind"])
            if told["kind"] == "begun":
                helper.ask({"stop": True})
    assert kinds == ["begun", "ended"]


def test_it_goes_and_tidies_up_when_the_command_is_killed(module: Path, tmp_path: Path) -> None:
    """What it has begun goes with it: a folder, a file, a program."""
    left, torn = tmp_path / "left", tmp_path / "torn"
    left.mkdir()
    torn.touch()
    module.write_text(
        serving(
            "from pathlib import Path; "
            f"pipe.leftovers += [Path({str(left)!r}), Path({str(torn)!r})]; "
            "pipe.say('pid', pid=pipe.begin(['sleep', '60']).pid); "
            "pipe.say('pid', pid=os.getpid()); time.sleep(60)"
        )
    )
    parent = (
        "from kto_tui.cli.helper import Helper\n"
        "for told in Helper('helping', {}).told(): print(told['pid'], flush=True)"
    )
    command = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    assert command.stdout is not None
    pids = [int(command.stdout.readline()) for _ in range(2)]
    command.send_signal(signal.SIGKILL)
    command.wait()
    command.stdout.close()
    deadline = time.monotonic() + 20
    while any(map(lives, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not left.exists()
    assert not torn.exists()


def lives(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--max-new-tokens", "0"), "--max-new-tokens 0"),
        (("--temperature", "-1"), "--temperature -1"),
        (("--temperature", "nan"), "--temperature nan"),
        ((), "holds neither a run nor an adapter"),
    ],
)
def test_wrong_requests_are_told_in_one_line(
    tmp_path: Path, options: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["chat", str(tmp_path), *options]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1


def test_a_run_without_checkpoints_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.yaml").write_text(to_yaml(RunConfig(model="builtin:tiny")))
    assert main(["chat", str(tmp_path), "--prompt", json.dumps("x")]) == 2
    assert "the run has no checkpoint yet" in capsys.readouterr().err
