"""Which checkpoint a run goes on from, and with which settings, through the command line's front door."""

import os
import pty
import threading
from pathlib import Path
from typing import Any

import pytest

import kto_tui.data
from kto_tui.cli import main, resuming
from kto_tui.cli.request import check, settings_of
from kto_tui.core.config import RunConfig, to_yaml
from kto_tui.core.errors import UserError
from kto_tui.core.manifest import Manifest, describe, write_manifest
from kto_tui.core.resolve import resolve
from tests.cli.checkpoints import write_checkpoint

SAMPLE = Path(kto_tui.data.__file__).with_name("sample.jsonl")
LATEST: dict[str, Any] = {"resume_from_checkpoint": "latest", "output_dir": "out"}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def tiny(**changes: Any) -> RunConfig:
    return resolve({"model_size": "tiny", "output_dir": "out", **changes})


def run_with(*steps: int, config: RunConfig | None = None) -> list[Path]:
    """A run in out/ with these checkpoints, each with its settings."""
    config = config or tiny()
    paths = [write_checkpoint(Path("out"), step, settings=config) for step in steps]
    Path("out/run.yaml").write_text(to_yaml(config))
    return paths


def damage(checkpoint: Path) -> None:
    (checkpoint / "weights.bin").write_bytes(bytes(7))


def refusal(**options: Any) -> str:
    with pytest.raises(UserError) as caught:
        settings_of({**LATEST, **options})
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_latest_is_the_newest_whole_one(capsys: pytest.CaptureFixture[str]) -> None:
    _, middle, newest = run_with(50, 100, 150)
    damage(newest)
    assert settings_of(LATEST).resume_from_checkpoint == str(middle)
    assert capsys.readouterr().err.splitlines() == [
        "kto-tui: checkpoint-150 is passed over: weights.bin has 7 bytes instead of 1000",
        "kto-tui: going on from out/checkpoint-100",
    ]


def test_nothing_is_said_where_the_newest_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    *_, newest = run_with(50, 100)
    assert settings_of(LATEST).resume_from_checkpoint == str(newest)
    assert capsys.readouterr().err == ""


def test_no_whole_checkpoint_at_all() -> None:
    for path in run_with(50, 100):
        damage(path)
    assert refusal() == (
        "--resume-from-checkpoint latest: out holds no whole checkpoint: "
        "checkpoint-100 (weights.bin has 7 bytes instead of 1000), "
        "checkpoint-50 (weights.bin has 7 bytes instead of 1000)"
    )


def test_a_damaged_checkpoint_by_its_name() -> None:
    first, second = run_with(50, 100)
    damage(second)
    line = refusal(resume_from_checkpoint=str(second))
    assert line == (
        "--resume-from-checkpoint out/checkpoint-100: not as it was written: weights.bin has 7 bytes "
        "instead of 1000; resume from out/checkpoint-50 instead"
    )
    damage(first)
    assert "no other one there is whole" in refusal(resume_from_checkpoint=str(second))


def test_a_damaged_one_that_is_newer_is_in_nobodys_way() -> None:
    first, second = run_with(50, 100)
    assert "holds a newer one (checkpoint-100)" in refusal(resume_from_checkpoint=str(first))
    damage(second)
    given = {**LATEST, "resume_from_checkpoint": str(first)}
    assert settings_of(given).resume_from_checkpoint == str(first)


def test_settings_left_out_are_those_of_the_checkpoint() -> None:
    """Also where the run's own file says otherwise, and where a file is given that says nothing of them."""
    run_with(50, config=tiny(beta=0.3, max_steps=9))
    Path("out/run.yaml").write_text(to_yaml(tiny(beta=0.7, max_steps=9)))
    Path("mine.yaml").write_text("logging_steps: 2\nmodel_size: tiny\n")
    assert settings_of(LATEST).beta == 0.3
    config = settings_of({**LATEST, "config": "mine.yaml", "save_steps": "7"})
    assert (config.beta, config.max_steps, config.logging_steps, config.save_steps) == (0.3, 9, 2, 7)


def test_an_older_checkpoint_has_the_settings_of_its_run() -> None:
    write_checkpoint(Path("out"), 50)
    Path("out/run.yaml").write_text(to_yaml(tiny(beta=0.3)))
    assert settings_of(LATEST).beta == 0.3
    assert "--beta 0.3 -> 0.5" in refusal(beta="0.5")


def test_a_setting_that_changes_the_result_needs_a_word() -> None:
    run_with(50, config=tiny(max_steps=9))
    assert refusal(beta="0.2", max_steps="20", logging_steps="1") == (
        "--resume-from-checkpoint out/checkpoint-50: other settings than it was trained with would change "
        "the result: --beta 0.1 -> 0.2, --max-steps 9 -> 20; "
        "add --allow-changed-settings, or leave them out"
    )
    config = settings_of({**LATEST, "beta": "0.2", "max_steps": "20", "allow_changed_settings": True})
    assert (config.beta, config.max_steps) == (0.2, 20)


def test_a_file_may_ask_for_changes_too() -> None:
    run_with(50)
    Path("mine.yaml").write_text("beta: 0.2\n")
    assert "--beta 0.1 -> 0.2" in refusal(config="mine.yaml")
    Path("mine.yaml").write_text("beta: 0.2\nallow_changed_settings: true\n")
    assert settings_of({**LATEST, "config": "mine.yaml"}).beta == 0.2


def test_settings_that_change_no_weight_need_no_word() -> None:
    run_with(50)
    changed = {"logging_steps": "1", "save_steps": "3", "keep_requested": "no", "reference_cache": "off"}
    assert settings_of({**LATEST, **changed, "eval_dataset": "builtin:sample"}).keep_requested == "no"


def test_a_batch_that_the_plan_chose_stays_as_it_was() -> None:
    """auto, on the command line or in a file, is no other batch than auto came to."""
    run_with(50, config=tiny(batch_size=8, gradient_accumulation_steps=2))
    Path("mine.yaml").write_text("batch_size: auto\ngradient_accumulation_steps: 4\n")
    for given in ({"batch_size": "auto"}, {"config": "mine.yaml"}):
        config = settings_of({**LATEST, **given})
        assert (config.batch_size, config.gradient_accumulation_steps) == (8, 2)
    assert "--batch-size 8 -> 4" in refusal(batch_size="4")


def test_a_template_is_looked_for_before_anything_is_made() -> None:
    """A known name is that template, also where a file or folder has the name."""
    Path("mistral").mkdir()
    config = tiny(dataset="builtin:sample", chat_template="mistral")
    assert check(config).config.chat_template == "mistral"
    Path("mine.jinja").touch()
    config = tiny(dataset="builtin:sample", chat_template="mine.jinja")
    assert check(config).config.chat_template == str(Path("mine.jinja").absolute())
    for name, found in (("gone.jinja", "no such file, and no such template"), (".", "a folder")):
        with pytest.raises(
            UserError, match=f": found {found}; expected a Jinja file, or one of alpaca, chat"
        ):
            check(tiny(dataset="builtin:sample", chat_template=name))


def test_a_path_with_a_comma_is_not_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("x,y").mkdir()
    rows = Path("x,y/rows.jsonl")
    rows.write_text(SAMPLE.read_text())
    assert check(tiny(dataset=str(rows))).config.dataset == str(rows.absolute())
    for given in ([str(rows), "builtin:sample"], [f"{rows}=2"], f"{rows}=2"):
        with pytest.raises(UserError, match="a file with a comma in its name beside others or a weight"):
            tiny(dataset=given)
    monkeypatch.chdir("x,y")
    with pytest.raises(UserError, match="found a comma in a path beside others or a weight"):
        check(tiny(dataset="rows.jsonl=2"))


def test_a_preset_in_a_file_beside_the_checkpoint_of_another_one() -> None:
    run_with(50)
    Path("mine.yaml").write_text("model_size: 7b\noutput_dir: out\n")
    assert "trained from builtin:tiny" in refusal(config="mine.yaml")
    Path("mine.yaml").write_text("model_size: null\n")
    assert settings_of({**LATEST, "config": "mine.yaml"}).model == "builtin:tiny"


def test_a_hostile_run_yaml_of_a_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    path = write_checkpoint(Path("out"), 50)
    (path / "run.yaml").write_text("beta: !!python/name:os.system\n")
    assert main(["--no-ui", "--resume-from-checkpoint", str(path)]) == 2
    assert "found the tag tag:yaml.org,2002:python/name:os.system" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[" * 100_000, "adapter_config.json is damaged"),
        ('{"r": ' + "9" * 9999 + "}", "adapter_config.json is damaged"),
        ('{"base_model_name_or_path": "' + "x" * 10**6 + '"}', "it adapts xxx"),
        (r'{"base_model_name_or_path": "\u001b[2Jowned"}', r"it adapts \x1b[2Jowned, not builtin:tiny"),
    ],
    ids=["deep", "huge", "long", "forged"],
)
def test_a_hostile_adapter(capsys: pytest.CaptureFixture[str], content: str, words: str) -> None:
    path = write_checkpoint(Path("out"), 50, settings=tiny())
    (path / "adapter_config.json").write_text(content)
    write_manifest(path, Manifest(step=50, reason="final", time=0.0, files=describe(path)))
    assert main(["--no-ui", "--resume-from-checkpoint", str(path)]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said[:-1].isprintable()
    assert len(said) < 1000


def test_who_waits_at_a_terminal_is_told_for_what(monkeypatch: pytest.MonkeyPatch) -> None:
    leader, follower = pty.openpty()
    monkeypatch.setattr(resuming, "_PATIENCE_SECONDS", 0.01)
    with open(follower, "w") as stderr:
        monkeypatch.setattr("sys.stderr", stderr)
        with resuming._patient("checkpoint-50"):
            assert os.read(leader, 100).strip() == b"kto-tui: verifying checkpoint-50 ..."
    os.close(leader)


def test_who_waits_elsewhere_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(resuming, "_PATIENCE_SECONDS", 0.01)
    with resuming._patient("checkpoint-50"):
        threading.Event().wait(0.2)
    assert capsys.readouterr().err == ""
