"""Settings: bounds, precedence, presets, and what is said about a wrong one."""

from pathlib import Path

import pytest

from kto_tui.core.config import RunConfig, class_weights, evaluates, settings, to_yaml
from kto_tui.core.directory import RunDirectory
from kto_tui.core.errors import UserError
from kto_tui.core.presets import preset_names
from kto_tui.core.resolve import read_settings, recorded_settings, resolve
from kto_tui.core.setting import convert


def test_each_setting_has_a_flag_a_group_and_help() -> None:
    for name, setting in settings().items():
        assert setting.flag == "--" + name.replace("_", "-")
        assert setting.doc.group
        assert setting.doc.text


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("save_steps", "0", "--save-steps: found '0'; expected a whole number of at least 1"),
        ("save_steps", "ten", "expected a whole number"),
        ("save_steps", None, "expected a whole number"),
        ("batch_size", "1", "at least 2"),
        ("beta", "0", "a number above 0"),
        ("beta", "nan", "a number above 0"),
        ("learning_rate", "inf", "a number above 0"),
        ("warmup_ratio", 1.5, "a number from 0 to 1"),
        ("quantization", "q4", "one of auto, nf4, int8, none"),
        ("wandb", "maybe", "true or false"),
        ("dataset", ["a", 1], "found 1 in a list; expected text"),
        ("dataset", [], "text"),
        ("eval_fraction", "0", "--eval-fraction: found '0'; expected a number above 0 and below 1"),
        ("eval_fraction", 1.0, "above 0 and below 1"),
        ("eval_fraction", "10%", "a number above 0 and below 1"),
        ("early_stopping_patience", "0", "a whole number of at least 1"),
        ("kl_scope", "epoch", "one of step, micro_batch"),
        ("reference_cache", "", "a folder, or off"),
        ("reference_cache", True, "a folder, or off"),
        ("keep_requested", "maybe", "one of yes, no"),
        ("keep_requested", 0, "one of yes, no"),
        ("auto_restart", "-1", "a whole number of at least 0"),
        ("auto_restart", "forever", "a whole number of at least 0"),
        ("auto_restart", None, "a whole number of at least 0"),
        ("grace_seconds", "0", "a number above 0"),
        ("grace_seconds", "nan", "a number above 0"),
        ("allow_changed_settings", "beta", "true or false"),
        pytest.param("save_steps", 10**5000, "found a number of more than 38 digits; expected a", id="int"),
        ("save_steps", 2**60, "found 1152921504606846976; expected at most 9007199254740992"),
        pytest.param("wandb_run_name", 10**5000, "more than 38 digits; expected text", id="int as text"),
        pytest.param("wandb_run_name", "x" * 5000, "found 5000 characters; expected at most 4096", id="text"),
        ("dataset", "a\0b", r"found 'a\x00b'; expected text without NUL, in UTF-8"),
        ("output_dir", "a\udcff", r"found 'a\udcff'; expected text without NUL, in UTF-8"),
        pytest.param("beta", "x" * 10**6, f"found '{'x' * 59}…; expected a number above 0", id="long"),
        ("beta", {"a": 1}, "found a mapping; expected a number"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_wanted(name: str, value: object, message: str) -> None:
    with pytest.raises(UserError) as caught:
        convert(settings()[name], value, settings()[name].flag)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_values_come_as_text_from_the_command_line() -> None:
    known = settings()
    assert convert(known["learning_rate"], "5e-7", "") == 5e-7
    assert convert(known["max_steps"], "7", "") == 7
    assert convert(known["wandb_run_name"], 7, "") == "7"
    assert convert(known["model"], "null", "") == "null"


def test_command_line_wins_over_file_over_preset_over_default(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("model-size: tiny\nbeta: 0.2\nlora_rank: 4\nlearning_rate: 5e-6\n")
    config = resolve({"beta": "0.3"}, file)
    assert config.beta == 0.3
    assert config.lora_rank == 4
    assert config.learning_rate == 5e-6
    assert config.batch_size == 8
    assert config.logging_steps == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bta: 0.2", "key 'bta': no such setting"),
        ("save_steps: 0", "key 'save_steps': found 0"),
        ("- a\n- b", "expected settings as key: value"),
        ("a: [", "not YAML"),
        ("class_weights: 1:1.5", "write the weights in quotes"),
        ("seed: 4294967296", "from 0 to 4294967295"),
        ("output_dir: ''", "found nothing"),
        ("\x00", "not YAML"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(UserError) as caught:
        resolve({"model_size": "tiny"}, file)
    assert message in str(caught.value)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_an_unknown_preset_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        resolve({}, tmp_path / "none.yaml")
    with pytest.raises(UserError, match=r"--model-size 9b: no such preset; choose one of tiny, 135m, 0\.5b"):
        resolve({"model_size": "9b"})
    with pytest.raises(UserError, match="no model"):
        resolve({})


def test_the_presets_are_those_of_the_readme() -> None:
    assert preset_names() == ["tiny", "135m", "0.5b", "1.5b", "3b", "7b", "8b", "14b", "24b"]
    assert resolve({"model_size": "13b"}).model == resolve({"model_size": "14b"}).model
    assert resolve({"model_size": "20b"}).model == resolve({"model_size": "24b"}).model
    big = [resolve({"model_size": name}) for name in preset_names()[2:]]
    assert {config.batch_size * config.gradient_accumulation_steps for config in big} == {32}
    seven = resolve({"model_size": "7b"})
    assert (seven.lora_rank, seven.lora_alpha, seven.batch_size, seven.max_length) == (64, 128, 8, 2048)
    assert seven.output_dir == "./kto_output_rtx3090"
    assert (seven.save_steps, seven.save_total_limit, seven.learning_rate) == (50, 3, 5e-7)


def test_run_yaml_repeats_the_run(tmp_path: Path) -> None:
    config = resolve(
        {"model_size": "tiny", "max_steps": 7, "wandb_project": "p", "output_dir": str(tmp_path)}
    )
    directory = RunDirectory(tmp_path)
    directory.settings.write_text(to_yaml(config))
    assert resolve({}, directory.settings) == config
    assert recorded_settings(directory) == config
    assert "overwrite" not in read_settings(directory.settings)


def test_evaluation_follows_saving_unless_told() -> None:
    base = {"model_size": "tiny", "save_steps": 20}
    assert resolve({**base, "eval_dataset": "x.jsonl"}).eval_steps == 20
    assert resolve({**base, "eval_dataset": "x.jsonl", "eval_steps": 7}).eval_steps == 7
    assert resolve(base).eval_steps is None


def test_a_part_held_out_is_evaluated_too() -> None:
    config = resolve({"model_size": "tiny", "eval_fraction": "0.1"})
    assert (config.eval_fraction, config.eval_steps) == (0.1, config.save_steps)
    assert evaluates(config)
    assert not evaluates(resolve({"model_size": "tiny"}))


def test_steps_between_evaluations_need_an_evaluation(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("eval_steps: 5\n")
    given: list[tuple[dict[str, object], Path | None]] = [({"eval_steps": 5}, None), ({}, file)]
    for options, config in given:
        with pytest.raises(UserError, match="--eval-steps 5: nothing is evaluated; add --eval-dataset"):
            resolve({"model_size": "tiny", **options}, config)
    resumed = {"model_size": "tiny", "resume_from_checkpoint": "run/checkpoint-5"}
    assert resolve(resumed, file).eval_steps == 5


@pytest.mark.parametrize(
    ("cache", "message"),
    [
        ("~nosuch/x", "--reference-cache ~nosuch/x: ~nosuch is no user's home; name another folder, or off"),
        ("", "--reference-cache: found nothing; expected a folder, or off"),
    ],
)
def test_a_cache_that_names_no_folder(cache: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        resolve({"model_size": "tiny", "reference_cache": cache})
    assert str(caught.value) == message


def test_rows_to_evaluate_on_come_from_one_place(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("eval_dataset: held.jsonl\n")
    with pytest.raises(UserError) as caught:
        resolve({"model_size": "tiny", "eval_fraction": "0.25"}, file)
    assert str(caught.value) == (
        "--eval-dataset held.jsonl and --eval-fraction 0.25: found both; choose one of them"
    )


@pytest.mark.parametrize("evaluation", [{"eval_dataset": "x.jsonl"}, {"eval_fraction": 0.1}])
def test_patience_needs_an_evaluation(evaluation: dict[str, object]) -> None:
    asked = {"model_size": "tiny", "early_stopping_patience": 3}
    assert resolve({**asked, **evaluation}).early_stopping_patience == 3
    with pytest.raises(UserError, match="--early-stopping-patience 3: nothing is evaluated; add --eval-d"):
        resolve(asked)


def test_on_and_off_need_no_quotes_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("model_size: tiny\nreference_cache: off\ngradient_checkpointing: on\n")
    config = resolve({}, file)
    assert (config.reference_cache, config.gradient_checkpointing) == ("off", "on")
    file.write_text(to_yaml(config))
    assert resolve({}, file) == config


def test_yes_and_no_need_no_quotes_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    for word in ("no", "yes"):
        file.write_text(f"model_size: tiny\nkeep_requested: {word}\nauto-restart: 2\ngrace_seconds: 1.5\n")
        config = resolve({}, file)
        assert (config.keep_requested, config.auto_restart, config.grace_seconds) == (word, 2, 1.5)
        file.write_text(to_yaml(config))
        assert resolve({}, file) == config


def test_a_base_holds_where_nothing_else_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("lora_rank: 4\n")
    base = {"model_size": "tiny", "beta": 0.3, "lora_rank": 2, "batch_size": 2, "max_steps": 9}
    config = resolve({"batch_size": "6"}, file, base)
    assert (config.beta, config.lora_rank, config.batch_size, config.max_steps) == (0.3, 4, 6, 9)
    assert config.learning_rate == 1.5e-3


def test_the_cache_may_lie_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    base = {"model_size": "tiny"}
    assert resolve({**base, "reference_cache": "~/kept"}).reference_cache == str(tmp_path / "kept")
    assert resolve(base).reference_cache is None
    assert resolve({**base, "reference_cache": "off"}).reference_cache == "off"


@pytest.mark.parametrize(("text", "weights"), [("auto", None), ("1:1.33", (1.0, 1.33)), ("0:1", (0.0, 1.0))])
def test_class_weights(text: str, weights: tuple[float, float] | None) -> None:
    assert class_weights(text) == weights


@pytest.mark.parametrize("text", ["1", "a:b", "-1:1", "0:0", "nan:1", "1:inf", "1:2:3"])
def test_wrong_class_weights(text: str) -> None:
    with pytest.raises(UserError, match="--class-weights"):
        class_weights(text)


def test_settings_of_a_newer_version_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("from_the_future: 1\n")
    assert recorded_settings(RunDirectory(tmp_path)) is None
    assert recorded_settings(RunDirectory(tmp_path / "none")) is None
    assert isinstance(RunConfig(), RunConfig)


def test_a_home_folder_is_meant_by_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve({"model_size": "tiny", "output_dir": "~/run"}).output_dir == str(tmp_path / "run")


@pytest.mark.parametrize("written", ["0", "false", "no"])
def test_only_auto_leaves_the_batch_to_the_plan(tmp_path: Path, written: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"model: m\nbatch_size: {written}\n")
    with pytest.raises(
        UserError, match=r"'batch_size': found .*; expected a whole number of at least 2, or auto"
    ):
        resolve({}, file)


def test_a_revision_goes_with_its_model(tmp_path: Path) -> None:
    """As a run is repeated from its run.yaml with another model."""
    (tmp_path / "run.yaml").write_text("model: a/b\nmodel_revision: v1\n")
    revisions = [
        resolve(asked, tmp_path / "run.yaml").model_revision
        for asked in ({}, {"model": "a/b"}, {"model": "a/c"}, {"model": "a/c", "model_revision": "v2"})
    ]
    assert revisions == ["v1", "v1", None, "v2"]
