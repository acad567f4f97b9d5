"""Data files that somebody wrote to do harm: one clear line, quickly, and no more."""

import json
import os
import time
from pathlib import Path

import pytest

from kto_tui.cli import main
from kto_tui.core.errors import UserError
from kto_tui.data import Columns, check_rows

GOOD = '{"prompt": "a", "completion": "b", "label": true}\n'
ROW = '{"prompt": "a", "completion": "b", "label": %s}\n'
DEEP = "[" * 200_000
DIGITS = "9" * 10_000
RAW = "\x1b[2J\x1b]0;owned\x07"
FORGED = json.dumps(f"{RAW}\u202e\n")

HOSTILE: dict[str, tuple[str, str, str]] = {
    "deep rows": ("a.json", DEEP, "nested too deeply"),
    "deep row": ("a.jsonl", GOOD + ROW % DEEP, "line 2: lists or objects are nested too deeply"),
    "deep objects": ("a.jsonl", '{"label":' * 100_000, "nested too deeply"),
    "deep and closed": ("a.jsonl", ROW % ("[" * 5000 + "]" * 5000), "nested too deeply"),
    "huge number": ("a.jsonl", ROW % DIGITS, "line 1: not JSON that can be read: Exceeds the limit"),
    "large number": ("a.jsonl", ROW % ("9" * 4000), '"label" is 99999'),
    "huge exponent": ("a.jsonl", ROW % "1e999999999", '"label" is'),
    "no number": ("a.jsonl", ROW % "NaN", '"label" is NaN'),
    "long label": ("a.jsonl", ROW % json.dumps("x" * 10**6), '"label" is "xxx'),
    "forged label": ("a.jsonl", ROW % FORGED, r'"label" is "\u001b[2J\u001b]0;owned'),
    "forged column": ("a.jsonl", f"{{{FORGED}: 1}}", r'no column "prompt"; found \x1b[2J'),
    "long column": ("a.jsonl", '{"%s": 1}' % ("x" * 10**6), 'no column "prompt"; found xxx'),
    "many columns": ("a.jsonl", json.dumps({f"c{n}": 1 for n in range(99_999)}), "and 99987 more"),
    "forged text": ("a.jsonl", GOOD + RAW, "line 2, column 1: not JSON"),
    "nul in text": ("a.jsonl", GOOD.replace('"a"', '"a\\u0000"'), "holds a NUL character"),
    "nul in file": ("a.jsonl", "\0" * 1000, "line 1, column 1: not JSON"),
    "half a pair": ("a.jsonl", GOOD.replace('"a"', '"\\ud800"'), "half of a surrogate pair"),
    "forged role": (
        "a.jsonl",
        f'{{"messages": [{{"role": {FORGED}, "content": "x"}}], "label": true}}',
        r'is of role "\u001b[2J',
    ),
    "no end of a line": ("a.jsonl", '{"prompt": "' + "x" * 10**7, "not JSON: Unterminated string"),
    "csv with a nul": ("a.csv", "prompt,completion,label\na\0,b,1\n", "NUL"),
    "csv with a forged name": ("a.csv", f"{RAW},{RAW}\n1,2\n", r"two columns are called"),
    "csv with a forged label": ("a.csv", f"prompt,completion,label\na,b,{RAW}\n", r'"label" is "\u001b[2J'),
    "csv with an open quote": ("a.csv", 'prompt,completion,label\na,"' + "x\n" * 200_000, "not CSV"),
    "csv with a large cell": (
        "a.csv",
        "prompt,completion,label\n" + "x" * 10**6 + ",b,maybe\n",
        '"label" is',
    ),
    "csv with many columns": ("a.csv", ",".join(f"c{n}" for n in range(20_000)) + "\n", "holds no rows"),
    "csv with many cells": ("a.csv", "prompt,completion,label\n" + "," * 10**6 + "\n", "found 1000001 cells"),
    "parquet that is none": ("a.parquet", "PAR1" + RAW * 100 + "PAR1", "not a whole Parquet file"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_gets_one_clean_line(tmp_path: Path, name: str) -> None:
    file, content, words = HOSTILE[name]
    (tmp_path / file).write_text(content)
    began = time.process_time()
    with pytest.raises(UserError) as caught:
        check_rows(str(tmp_path / file), Columns())
    assert time.process_time() - began < 2
    message = str(caught.value)
    assert words in message
    assert message.isprintable()
    assert len(message) < 1000 + len(str(tmp_path))


@pytest.mark.parametrize("file", ["a.jsonl", "a.parquet"])
def test_through_the_front_door(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], file: str
) -> None:
    """A process of its own reads Parquet: what goes wrong there is told the same way."""
    monkeypatch.chdir(tmp_path)
    Path(file).write_text(DEEP)
    assert main(["plan", "--model-size", "tiny", "--dataset", file]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"kto-tui: {tmp_path / file}")
    assert said.err[:-1].isprintable()


def dies(*_: object, **__: object) -> None:
    os._exit(7)


def test_a_reader_that_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a library does that trips over a file."""
    monkeypatch.chdir(tmp_path)
    Path("a.parquet").write_text("x")
    monkeypatch.setattr("kto_tui.cli.request.check_rows", dies)
    assert main(["plan", "--model-size", "tiny", "--dataset", "a.parquet"]) == 2
    assert "the process that read it died" in capsys.readouterr().err


def test_a_file_with_a_hostile_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = f"{RAW}\n.jsonl"
    Path(name).write_text("{")
    with pytest.raises(UserError) as caught:
        check_rows(name, Columns())
    assert str(caught.value).isprintable()
