"""`kto-tui export`: what is refused before anything is loaded, and which adapter is meant."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kto_tui.cli import main
from kto_tui.cli.export import _place
from kto_tui.core.config import RunConfig, to_yaml
from kto_tui.core.directory import RunDirectory
from kto_tui.core.errors import UserError
from kto_tui.core.events import ModelLoaded, StageChanged
from kto_tui.core.manifest import Manifest, describe, read_manifest, write_manifest
from kto_tui.models.merged import mark_merged
from kto_tui.run.journal import JournalWriter
from kto_tui.run.lock import RunLock
from kto_tui.run.trained import find_trained, held_trained
from kto_tui.training.after.gguf import TYPES, convert, find_converter
from kto_tui.training.after.pipe import Pipe
from tests.cli.checkpoints import write_checkpoint


class NoPipe(Pipe):
    """The pipe's end in a test, with nobody at the other end."""

    def __init__(self) -> None:
        self.leftovers = []
        self._begun = []
        self._beginning = threading.Lock()


def adapter(folder: Path, base: object = "builtin:tiny") -> Path:
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    return folder


def whole(run: Path, step: int) -> Path:
    checkpoint = write_checkpoint(run, step)
    (checkpoint / "adapter_model.safetensors").write_bytes(b"weights")
    write_manifest(checkpoint, msgspec.structs.replace(read_manifest(checkpoint), files=describe(checkpoint)))
    return checkpoint


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that has ended, as far as its files tell."""
    folder = tmp_path / "run"
    adapter(folder / "final_model")
    (folder / "run.yaml").write_text(to_yaml(RunConfig(model="builtin:tiny", report_to="wandb")))
    return folder


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "nothing to export: add --merge"),
        (("--to", "x"), "nothing to export"),
        (("--push-to-hub", "a/b", "--to", "x"), "--to x: it is for a merged model; add --merge"),
        (("--push-to-hub", "a/b", "--dtype", "float32"), "--dtype float32: it is for a merged model"),
        (("--merge", "--public"), "--public: nothing is uploaded"),
        (("--merge", "--to", "."), "it is there already"),
        (("--merge", "--to", "/dev/null/x"), "no folder can be made in /dev/null"),
        (("--gguf", "q4_k_m"), "llama-quantize"),
        (("--push-to-hub", "a/b"), "builtin:tiny, is not on the hub"),
    ],
)
def test_wrong_requests_are_told_in_one_line(
    run: Path, options: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(run), *options]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1
    assert not (run / "merged_model").exists()


def test_without_the_converter_it_is_said_how_to_get_it(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    monkeypatch.delenv("LLAMA_CPP_DIR", raising=False)
    assert main(["export", str(run), "--gguf"]) == 2
    assert "set LLAMA_CPP_DIR" in capsys.readouterr().err
    assert not (run / "merged_model").exists()


def test_the_converter_is_found_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "convert_hf_to_gguf.py"
    with monkeypatch.context() as patch:
        patch.setenv("LLAMA_CPP_DIR", str(tmp_path))
        with pytest.raises(UserError, match="found no convert_hf_to_gguf"):
            find_converter("f16")
        script.write_text("")
        assert find_converter("F16")[-1] == str(script)
    monkeypatch.delenv("LLAMA_CPP_DIR", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    script.chmod(0o755)
    assert find_converter(TYPES[0])[-1] == str(script)
    script.rename(tmp_path / "convert-hf-to-gguf")
    assert find_converter("f16") == [str(tmp_path / "convert-hf-to-gguf")]


def test_a_converter_that_fails_is_quoted_and_leaves_nothing(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    fails = "import sys; open(sys.argv[-1], 'w').write('half'); print('oops \\x1b[31m'); sys.exit(1)"
    (model / "model-f16.unfinished").touch()  # Of one that was killed.
    with pytest.raises(UserError, match=r"last words: oops \\x1b\[31m; the merged model is in"):
        convert(NoPipe(), ["python3", "-c", fails], model, "f16")
    with pytest.raises(UserError, match="failed"):
        convert(NoPipe(), [str(tmp_path / "none")], model, "f16")
    assert not list(model.iterdir())
    works = "import sys; open(sys.argv[-1], 'w').write(' '.join(sys.argv[1:4]))"
    written = convert(NoPipe(), ["python3", "-c", works], model, "Q8_0")
    assert (written.name, written.read_text()) == ("model-q8_0.gguf", f"{model} --outtype q8_0")
    with pytest.raises(UserError, match=r"model-q8_0\.gguf is there already"):
        convert(NoPipe(), ["python3", "-c", works], model, "Q8_0")


def test_what_was_merged_before_is_converted(run: Path) -> None:
    """An interrupted conversion leaves the merged model: it is not in the way of the next one."""
    merged = run / "merged_model"
    merged.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (merged / name).write_text("{}")
    trained = find_trained(str(run))
    asked: dict[str, Any] = {"gguf": "f16", "dtype": None}
    with pytest.raises(UserError, match="it is there already"):
        _place({"gguf": "f16"}, asked, trained)
    mark_merged(merged, run / "final_model", "builtin:tiny", "bfloat16")
    assert _place({"gguf": "f16"}, asked, trained) == {"to": str(merged), "merged": "bfloat16"}
    with pytest.raises(UserError, match="it is there already"):
        _place({"gguf": "f16"}, {**asked, "dtype": "float32"}, trained)
    with pytest.raises(UserError, match=r"it is there already \(run/final_model, merged in bfloat16\)"):
        _place({"merge": True}, asked, trained)
    (run / "final_model" / "adapter_model.safetensors").write_bytes(b"others")
    with pytest.raises(UserError, match=r"already \(merged from another adapter than run/final_model"):
        _place({"gguf": "f16"}, asked, trained)


def test_of_a_run_that_has_ended_it_is_the_final_model(run: Path) -> None:
    whole(run, 5)
    trained = find_trained(str(run))
    assert (trained.adapter, trained.notes, trained.alive) == (run / "final_model", (), False)
    assert trained.config.output_dir == str(run)
    assert trained.config.report_to is None


def test_of_a_run_that_went_on_it_is_the_newer_checkpoint(run: Path) -> None:
    """As it is resumed with more steps, and stopped or killed before they are taken."""
    sign(run / "final_model", 5, time=10.0)
    sign(whole(run, 5), 5, time=9.0)
    assert find_trained(str(run)).adapter == run / "final_model"
    sign(whole(run, 9), 9, time=11.0)
    trained = find_trained(str(run))
    assert trained.adapter == run / "checkpoint-9"
    assert "the run went on after its final_model was written" in trained.notes[0]
    sign(run / "final_model", 5, time=12.0)  # Early stopping: the best step is an older one.
    assert find_trained(str(run)).adapter == run / "final_model"
    sign(run / "final_model", 5, time=10.0)
    (run / "checkpoint-9" / "adapter_model.safetensors").write_bytes(b"damaged")
    assert find_trained(str(run)).adapter == run / "final_model"


def sign(folder: Path, step: int, time: float) -> None:
    write_manifest(folder, Manifest(step=step, reason="final", time=time, files=describe(folder)))


def test_a_final_model_that_is_damaged_is_refused(run: Path) -> None:
    sign(run / "final_model", 5, time=10.0)
    (run / "final_model" / "adapter_model.safetensors").write_bytes(b"wEights")
    with pytest.raises(UserError, match=r"adapter_model\.safetensors is not what was written"):
        find_trained(str(run))


def test_what_the_run_said_of_its_base_is_known(run: Path) -> None:
    said = ModelLoaded(
        name="builtin:tiny",
        parameters=1,
        trainable_parameters=1,
        quantization="nf4",
        dtype="bfloat16",
        device="cuda:0",
    )
    with JournalWriter(run / "events.jsonl") as journal:
        journal.append(said)
        journal.append(StageChanged(stage="training"))
    base = find_trained(str(run)).base
    assert base is not None
    assert (base.quantization, base.dtype) == ("nf4", "bfloat16")


def test_of_a_run_that_is_alive_it_is_the_newest_whole_checkpoint(run: Path) -> None:
    with RunLock(RunDirectory(run).lock):
        with pytest.raises(UserError, match="alive and has no checkpoint yet"):
            find_trained(str(run))
        first = whole(run, 5)
        second = whole(run, 10)
        trained = find_trained(str(run))
        assert (trained.adapter, trained.alive) == (second, True)
        assert "checkpoint-10" in trained.notes[0]
        (second / "adapter_model.safetensors").write_bytes(b"damaged")
        assert find_trained(str(run)).adapter == first
        assert find_trained(str(first)).notes


def test_what_is_used_of_a_run_that_is_alive_outlives_its_rotation(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest checkpoint is rotated away as it is copied, and another one is there instead."""
    newer: list[Path] = []

    def rotate(source: Path, target: Path, **kwargs: Any) -> Path:
        if not newer:
            shutil.rmtree(source)
            newer.append(whole(run, 10))
        return shutil_copytree(source, target, **kwargs)

    shutil_copytree = shutil.copytree
    whole(run, 5)
    with RunLock(RunDirectory(run).lock):
        monkeypatch.setattr(shutil, "copytree", rotate)
        with held_trained(str(run)) as trained:
            shutil.rmtree(newer[0])
            assert (trained.adapter / "adapter_model.safetensors").is_file()
            assert trained.name == "run/checkpoint-10"
            assert trained.config.output_dir == str(run)
        assert not trained.adapter.exists()


@contextmanager
def full_disk() -> Iterator[None]:
    """Nothing can be written into files: as a full disk, it is noticed in the midst of it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_copy_that_fails_is_told_with_its_reason(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = run.parent / "tmp"
    left.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(left))
    whole(run, 5)
    lock = RunLock(RunDirectory(run).lock)
    with lock, full_disk(), pytest.raises(UserError) as refusal, held_trained(str(run)):
        pass
    said = str(refusal.value)
    assert "checkpoint-5 cannot be copied to" in said
    assert "File too large; make room there, or set TMPDIR" in said
    assert not list(left.iterdir())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_takes_the_copy_along(run: Path, tmp_path: Path, number: signal.Signals) -> None:
    whole(run, 5)
    held = (
        "import sys, time\n"
        "from kto_tui.cli.helper import ended_by_signals\n"
        "from kto_tui.run.trained import held_trained\n"
        "with ended_by_signals(), held_trained(sys.argv[1]):\n"
        "    print('held', flush=True)\n"
        # One long sleep would not notice a signal that comes just before it.
        "    for _ in range(600):\n"
        "        time.sleep(0.1)\n"
    )
    passing = tmp_path / "tmp"
    passing.mkdir()
    with RunLock(RunDirectory(run).lock):
        command = subprocess.Popen(
            [sys.executable, "-c", held, str(run)],
            stdout=subprocess.PIPE,
            env={**os.environ, "TMPDIR": str(passing)},
        )
        assert command.stdout is not None
        assert command.stdout.readline() == b"held\n"
        assert list(passing.iterdir())
        command.send_signal(number)
        assert command.wait(20) == 128 + number
        command.stdout.close()
    assert not list(passing.iterdir())


@pytest.mark.parametrize("name", ["nowhere", "\0", "x" * 5000, "", "empty"])
def test_what_is_no_run_is_refused(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError) as refusal:
        find_trained(name)
    assert "\n" not in str(refusal.value)


def test_a_damaged_checkpoint_is_refused(run: Path) -> None:
    checkpoint = whole(run, 5)
    (checkpoint / "adapter_model.safetensors").write_bytes(b"damaged")
    with pytest.raises(UserError, match="damaged"):
        find_trained(str(checkpoint))


def test_an_adapter_of_its_own_names_its_base(tmp_path: Path) -> None:
    trained = find_trained(str(adapter(tmp_path / "alone", base="org/base")))
    assert (trained.config.model, trained.config.output_dir) == ("org/base", None)
    with pytest.raises(UserError, match="does not name the model"):
        find_trained(str(adapter(tmp_path / "nameless", base=None)))
    (tmp_path / "alone" / "adapter_model.safetensors").unlink()
    with pytest.raises(UserError, match=r"found no adapter_model\.safetensors"):
        find_trained(str(tmp_path / "alone"))
