"""Settings files that somebody wrote to do harm: one clear line, quickly, and no more."""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kto_tui.cli import main
from kto_tui.core.config import START_ONLY, RunConfig, to_yaml
from kto_tui.core.config import settings as declared
from kto_tui.core.directory import RunDirectory
from kto_tui.core.errors import UserError
from kto_tui.core.events import RunStarted
from kto_tui.core.resolve import read_settings, recorded_settings, resolve
from kto_tui.core.setting import convert
from kto_tui.run.journal import JournalWriter

LAUGHS = "a0: &a0 [lol, lol]\n" + "\n".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)
)
MERGES = "m0: &m0 {k: v}\n" + "\n".join(
    f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 9)}]}}" for n in range(1, 12)
)
HOSTILE: dict[str, tuple[bytes, str]] = {
    "python object": (b"dataset: !!python/object/apply:os.mkdir [harm]", "found the tag tag:yaml.org,2002:p"),
    "python name": (b"beta: !!python/name:os.system", "found the tag"),
    "own tag": (b"beta: !x 1", "found the tag !x"),
    "wrong word for a tag": (b"wandb: !!bool maybe", "found the tag"),
    "laughs": (LAUGHS.encode(), "found an alias (*a0); write the value itself"),
    "merged laughs": (MERGES.encode(), "found an alias (*m0)"),
    "a circle": (b"dataset: &a [*a]", "found an alias"),
    "deep list": (b"beta: " + b"[" * 200_000, "line 1: nested too deeply"),
    "deep mapping": (b"beta: " + b"{a: " * 60_000, "nested too deeply"),
    "deep block": (b"".join(b" " * n + b"a:\n" for n in range(500)), "nested too deeply"),
    "deep sequence": (b"- " * 100_000, "nested too deeply"),
    "list": (b"beta: [1, [2], {a: b}]", "found a list; expected a number above 0"),
    "long list": (b"beta: [" + b"1," * 100_000 + b"]", "line 1: too many values"),
    "many keys": (b"".join(b"k%d: 1\n" % n for n in range(20_000)), "too many values"),
    "large": (b"# " + b"x" * (300 << 10), "larger than 256 kB"),
    "huge number": (b"save_steps: " + b"9" * 200_000, "save_steps': found '9999"),
    "large number": (b"save_steps: " + b"9" * 60, "a number of more than 38 digits"),
    "number to the base of 60": (b"save_steps: " + b"1:" * 100_000 + b"1", "save_steps': found '1:1:"),
    "hexadecimal nothing": (b"save_steps: 0x_", "found '0x_'; expected a whole number"),
    "no such day": (b"save_steps: 2001-99-99", "found '2001-99-99'; expected a whole number"),
    "no such number": (b"beta: .nan", "found nan; expected a number above 0"),
    "long text": (b"dataset: " + b"x" * 200_000, "found 200000 characters; expected at most 4096"),
    "nul": (b"dataset: a\0b", "not YAML"),
    "escaped nul": (b'dataset: "a\\0b"', "without NUL"),
    "not UTF-8": (b"dataset: \xff\xfe", "not UTF-8"),
    "UTF-16": ("beta: 0.2".encode("utf-16"), "not UTF-8"),
    "half a surrogate": (b'dataset: "\\ud800"', ""),
    "twice": (b"beta: 0.2\nbeta: 0.3", "key 'beta': found twice; keep one of them"),
    "twice in two spellings": (b"save-steps: 2\nsave_steps: 3", "key 'save_steps': found twice"),
    "two documents": (b"beta: 0.2\n---\nbeta: 0.3", "line 2: found a second document"),
    "key that is a list": (b"? [a, b]\n: 1", "line 1: expected settings as key: value"),
    "no mapping": (b"just text", "expected settings as key: value"),
    "merge key": (b"<<: {beta: 1}", "key '<<': no such setting"),
    "escape sequence": (b'quantization: "\\e]0;owned\\a\\e[2J"', r"found '\x1b]0;owned\x07\x1b[2J'"),
    "escape sequence as key": (b'"\\e[31mred": 1', r"key '\x1b[31mred': no such setting"),
    "raw escape sequence": (b"beta: \x1b[31mred", "not YAML"),
    "markup": (b"beta: '[bold red]0[/]'", "found '[bold red]0[/]'; expected a number"),
    "long key": (b"? " + b"x" * 100_000 + b"\n: 1", "no such setting"),
    "other direction": ('quantization: "\u202etxt"'.encode(), r"found '\u202etxt'"),
}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_gets_one_clean_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    content, words = HOSTILE[name]
    Path("mine.yaml").write_bytes(content)
    began = time.process_time()
    assert main(["--no-ui", "--model-size", "tiny", "--config", "mine.yaml"]) == 2
    seconds = time.process_time() - began
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("kto-tui: settings file mine.yaml")
    assert said.err.endswith("\n")
    assert said.err[:-1].isprintable()
    assert len(said.err) < 400
    assert words in said.err
    assert seconds < 1
    assert [path.name for path in Path().iterdir()] == ["mine.yaml"]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_run_with_hostile_settings_can_still_be_looked_at(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = RunDirectory.at("run")
    directory.path.mkdir()
    directory.settings.write_bytes(HOSTILE[name][0])
    with JournalWriter(directory.events) as journal:
        journal.append(RunStarted(run_id="r", versions={}, host="h", devices=()))
    assert recorded_settings(directory) is None
    assert main(["runs", "."]) == 0
    assert "died" in capsys.readouterr().out
    assert main(["attach", "run", "--no-ui"]) == 1
    assert "The run has died" in capsys.readouterr().out


def test_settings_that_cannot_be_opened() -> None:
    directory = RunDirectory.at("run")
    directory.path.mkdir()
    directory.settings.mkdir()
    assert recorded_settings(directory) is None
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read_settings(directory.settings)
    directory.settings.rmdir()
    os.mkfifo(directory.settings)
    assert recorded_settings(directory) is None


def test_a_hundred_megabytes_are_not_read() -> None:
    with open("mine.yaml", "wb") as file:
        file.truncate(100 << 20)
    began = time.process_time()
    with pytest.raises(UserError, match="larger than 256 kB"):
        read_settings(Path("mine.yaml"))
    assert time.process_time() - began < 0.1


def test_an_endless_file_is_read_no_further_than_settings_go() -> None:
    with pytest.raises(UserError, match="larger than 256 kB"):
        read_settings(Path("/dev/zero"))


def test_no_memory_is_spent_on_a_hostile_file() -> None:
    """In a process that may have 300 MB more than it begins with."""
    Path("mine.yaml").write_text(LAUGHS)
    code = "import sys; from kto_tui.cli import main; sys.exit(main(sys.argv[1:]))"

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (600 << 20, 600 << 20))

    command = [sys.executable, "-c", code, "plan", "--config", "mine.yaml"]
    ended = subprocess.run(command, preexec_fn=limit, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert "found an alias" in ended.stderr


@pytest.mark.parametrize(
    "option", ["--model-size", "--output-dir", "--dataset", "--beta", "--unknown", "runs"]
)
def test_the_command_line_forges_no_screen_either(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([option, "\x1b[2J\x1b]0;owned\x07\nkto-tui: all is well"]) == 2
    said = capsys.readouterr().err
    assert said[:-1].isprintable()


def test_plain_files_are_read_as_ever() -> None:
    Path("mine.yaml").write_text(
        "\ufeff# a comment\n--- \nmodel-size: tiny\nwandb: yes\nreference_cache: off\nmax_steps: 1_000\n"
        "beta: 1e-1\nlearning_rate: 5.0e-07\nseed: 0x10\nwandb_run_name: 2001-01-02\n"
        "wandb_project: !!str 7\nclass_weights: '1:1.5'\ndataset: \"café\\tx\"\neval_fraction: null\n...\n"
    )
    assert read_settings(Path("mine.yaml")) == {
        "model_size": "tiny", "wandb": True, "reference_cache": "off", "max_steps": 1000, "beta": 0.1,
        "learning_rate": 5e-7, "seed": 16, "wandb_run_name": "2001-01-02", "wandb_project": "7",
        "class_weights": "1:1.5", "dataset": "café\tx", "eval_fraction": None,
    }  # fmt: skip
    for nothing in ("", "# only this\n", "---\n", "null\n", "~"):
        Path("mine.yaml").write_text(nothing)
        assert read_settings(Path("mine.yaml")) == {}


@contextmanager
def file_of(text: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "run.yaml")
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        yield path


NAMES = sorted(declared())
WORDS = st.sampled_from(
    ("on", "off", "yes", "no", "1:2", "1e5", "0x_", "~", "=", "auto", "nf4", "2001-01-02")
)
TEXTS = st.text(max_size=30) | WORDS
NUMBERS = st.one_of(st.integers(-(2**70), 2**70), st.floats(), st.integers(0, 50), st.floats(0, 1))
VALUES = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
OPTIONS = st.dictionaries(
    st.sampled_from(NAMES).filter(lambda name: name not in START_ONLY), VALUES, max_size=9
)
LINES = st.dictionaries(st.sampled_from(NAMES), TEXTS, max_size=5).map(
    lambda pairs: "\n".join(f"{name}: {value}" for name, value in pairs.items())
)


@given(name=st.sampled_from(NAMES), value=VALUES | st.lists(TEXTS) | st.binary(max_size=9))
@settings(max_examples=300, deadline=None)
def test_any_value_is_a_setting_or_refused_in_one_line(name: str, value: Any) -> None:
    try:
        converted = convert(declared()[name], value, "here")
    except UserError as error:
        refusal = str(error)
    else:
        refusal = "here: "
        to_yaml(RunConfig(**{name: converted}))
    assert refusal.startswith("here: ")
    assert refusal.isprintable()


@given(options=OPTIONS)
@settings(max_examples=100, deadline=None)
def test_what_can_be_resolved_is_read_back_equal(options: dict[str, Any]) -> None:
    taken: dict[str, Any] = {"model": "builtin:tiny", "output_dir": "out"}
    for name, value in options.items():
        try:
            resolve({**taken, name: value})
        except UserError:
            continue
        taken[name] = value
    config = resolve(taken)
    with file_of(to_yaml(config)) as path:
        assert resolve({}, path) == config
        assert msgspec.structs.asdict(config) == {**msgspec.structs.asdict(config), **read_settings(path)}


@given(text=st.text(max_size=200) | LINES)
@settings(max_examples=200, deadline=None)
def test_any_text_is_settings_or_refused(text: str) -> None:
    with file_of(text) as path:
        try:
            read = read_settings(path)
        except UserError as error:
            refusal = str(error)
        else:
            refusal = f"settings file {path}"
            assert read.keys() <= declared().keys()
        assert refusal.startswith(f"settings file {path}")
        assert "\n" not in refusal
