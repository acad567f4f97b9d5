"""From what was asked to the settings of a run: command line > --config file > preset > defaults."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from kto_tui.core.config import RunConfig, class_weights, evaluates, settings
from kto_tui.core.directory import RunDirectory
from kto_tui.core.errors import UserError
from kto_tui.core.neighbours import Understood, understand
from kto_tui.core.plain_yaml import NotPlain, read_pairs
from kto_tui.core.presets import load_preset, preset_names
from kto_tui.core.setting import NO_CACHE, convert, shown

_MOST_BYTES = 256 << 10


def resolve(
    options: Mapping[str, Any], config_file: Path | None = None, base: Mapping[str, Any] | None = None
) -> RunConfig:
    """The settings of a run. `options` are those given on the command line, by name.

    `base`: the settings of the run that is resumed, which hold wherever nothing else was asked for.
    Raises UserError for an unknown preset or key, a value out of bounds, or no model at all.
    """
    given = _converted(options, lambda name: settings()[name].flag)
    written = read_settings(config_file) if config_file else {}
    asked = _later(_later(base or {}, written), given)
    size = asked.get("model_size")
    preset: dict[str, Any] = {}
    if size is not None:
        preset = _converted(load_preset(size), lambda name: f"preset {size}, key {name!r}")
    config = RunConfig(**{**preset, **asked})
    if config.model is None:
        raise UserError(f"no model: give --model-size ({', '.join(preset_names())}) or --model ID|DIR")
    class_weights(config.class_weights)
    _check_evaluation(config)
    if "resume_from_checkpoint" not in given or "eval_steps" in given:
        _check_eval_steps(config)
    return _with_defaults(config)


def _later(values: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """The values, with those put over them. A revision is one of its model, and goes with it."""
    merged = {**values, **over}
    if "model_revision" not in over and merged.get("model") != values.get("model"):
        merged.pop("model_revision", None)
    return merged


def read_settings(path: Path) -> dict[str, Any]:
    """The settings in a YAML file, keys with dashes or underscores, or TRL's or LLaMA-Factory's.

    Raises UserError.
    """
    return _read(path)[0]


def given_settings(path: Path) -> set[str]:
    """The settings that a file itself gives a value, and not only the program whose file it is.

    Raises UserError.
    """
    found, understood = _read(path)
    return set(found) - (understood.assumed if understood else frozenset())


def settings_notes(path: Path) -> tuple[str, ...]:
    """What the user is to know of how a settings file was read: nothing for one of ours. Raises UserError."""
    understood = _read(path)[1]
    return understood.notes(f"settings file {path}") if understood else ()


def _read(path: Path) -> tuple[dict[str, Any], Understood | None]:
    where = f"settings file {path}"
    try:
        pairs = read_pairs(_text_of(path))
    except FileNotFoundError:
        raise UserError(f"{where}: no such file") from None
    except OSError as error:
        raise UserError(f"{where}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{where}: not UTF-8; save the file as UTF-8") from None
    except NotPlain as problem:
        raise UserError(f"{where}: {problem}") from None
    named: dict[str, Any] = {}
    for key, value in pairs:
        name = key.replace("-", "_")
        if name in named:
            raise UserError(f"{where}, key {shown(key)}: found twice; keep one of them")
        named[name] = value
    if understood := understand(named, where, path.parent, frozenset(settings())):
        keys = understood.keys
        return _converted(
            understood.settings, lambda name: f"{where}, key {keys.get(name, name)!r}"
        ), understood
    for key, _ in pairs:
        if key.replace("-", "_") not in settings():
            raise UserError(f"{where}, key {shown(key)}: no such setting; kto-tui --help lists them")
    return _converted(named, lambda name: f"{where}, key {name!r}"), None


def _text_of(path: Path) -> str:
    """The file's text. Raises NotPlain where it is too large, OSError, UnicodeDecodeError."""
    with path.open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise NotPlain(f"larger than {_MOST_BYTES >> 10} kB; expected settings as key: value")
    return content.decode("utf-8-sig")


def recorded_settings(directory: RunDirectory) -> RunConfig | None:
    """The settings in a run's run.yaml, or None where there are none that this version can read."""
    if not os.path.isfile(directory.settings):  # Unlike Path.is_file, this raises for no folder.
        return None
    try:
        values = read_settings(directory.settings)
        return RunConfig(**{**values, "output_dir": str(directory.path)})
    except (UserError, TypeError):
        return None


def _converted(values: Mapping[str, Any], where: Any) -> dict[str, Any]:
    known = settings()
    return {name: convert(known[name], value, where(name)) for name, value in values.items()}


def _check_evaluation(config: RunConfig) -> None:
    if config.eval_dataset is not None and config.eval_fraction is not None:
        raise UserError(
            f"--eval-dataset {config.eval_dataset} and --eval-fraction {config.eval_fraction:g}: "
            "found both; choose one of them"
        )
    if config.early_stopping_patience is not None and not evaluates(config):
        raise UserError(
            f"--early-stopping-patience {config.early_stopping_patience}: nothing is evaluated; "
            "add --eval-dataset ID|FILE, or --eval-fraction 0.1 to hold out a tenth of the rows"
        )


def _check_eval_steps(config: RunConfig) -> None:
    """Of a run that is resumed only what is given anew is checked: older versions recorded any number."""
    if config.eval_steps is not None and not evaluates(config):
        raise UserError(
            f"--eval-steps {config.eval_steps}: nothing is evaluated; "
            "add --eval-dataset ID|FILE, or --eval-fraction 0.1 to hold out a tenth of the rows"
        )


def _with_defaults(config: RunConfig) -> RunConfig:
    """What follows from other settings: the folders, and when to evaluate."""
    return msgspec.structs.replace(
        config,
        output_dir=os.path.expanduser(config.output_dir or "./kto_output"),
        reference_cache=_cache_folder(config.reference_cache),
        eval_steps=config.eval_steps or (config.save_steps if evaluates(config) else None),
    )


def _cache_folder(cache: str | None) -> str | None:
    if cache is None or cache == NO_CACHE:
        return cache
    folder = os.path.expanduser(cache)
    if folder.startswith("~"):
        user = Path(folder).parts[0]
        raise UserError(f"--reference-cache {cache}: {user} is no user's home; name another folder, or off")
    return folder
