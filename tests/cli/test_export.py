"""`kto-tui export`: what is refused before anything is loaded, and which adapter is meant."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kto_tui.cli import main
from kto_tui.core.config import RunConfig, to_yaml
from kto_tui.core.directory import RunDirectory
from kto_tui.core.errors import UserError
from kto_tui.core.manifest import describe, read_manifest, write_manifest
from kto_tui.run.lock import RunLock
from kto_tui.run.trained import find_trained, held_trained
from kto_tui.training.after.gguf import TYPES, convert, find_converter
from tests.cli.checkpoints import write_checkpoint


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
    with pytest.raises(UserError, match=r"last words: oops \\x1b\[31m; the merged model is in"):
        convert(["python3", "-c", fails], model, "f16")
    with pytest.raises(UserError, match="failed"):
        convert([str(tmp_path / "none")], model, "f16")
    assert not list(model.iterdir())
    works = "import sys; open(sys.argv[-1], 'w').write(' '.join(sys.argv[1:4]))"
    written = convert(["python3", "-c", works], model, "Q8_0")
    assert (written.name, written.read_text()) == ("model-q8_0.gguf", f"{model} --outtype q8_0")


def test_of_a_run_that_has_ended_it_is_the_final_model(run: Path) -> None:
    whole(run, 5)
    trained = find_trained(str(run))
    assert (trained.adapter, trained.notes, trained.alive) == (run / "final_model", (), False)
    assert trained.config.output_dir == str(run)
    assert trained.config.report_to is None


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
