"""`kto-tui export`: what a run has trained as a whole model, as GGUF, or on the hub."""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from kto_tui.cli.helper import Helper, HelperDied, Told, show_waiting
from kto_tui.cli.screen import say, warn
from kto_tui.core.errors import UserError, printable
from kto_tui.core.sizes import format_size
from kto_tui.run.trained import Trained, held_trained

_MODULE = "kto_tui.training.merging"
_MERGED = "merged_model"


def export(options: Mapping[str, Any]) -> int:
    """Export as asked, and say what was written. Returns the exit code. Raises UserError."""
    request = _request(options)
    try:
        with held_trained(options["run_dir"]) as trained:
            _export(options, request, trained)
    except HelperDied as death:
        warn(f"export failed: {death}")
        return 1
    return 0


def _export(options: Mapping[str, Any], request: dict[str, Any], trained: Trained) -> None:
    if request.pop("merges"):
        request["to"] = str(_target(options.get("to"), trained))
    for note in trained.notes:
        warn(note)
    say(f"Exporting {trained.name}")
    request |= {"config": msgspec.to_builtins(trained.config), "adapter": str(trained.adapter.resolve())}
    with Helper(_MODULE, request) as helper:
        try:
            for told in helper.told():
                _tell(told, trained)
        finally:
            show_waiting(None)


def _request(options: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked for. Raises UserError where that is nothing, or options do not go together."""
    merges = bool(options.get("merge")) or "gguf" in options
    repo = options.get("push_to_hub")
    if not merges and repo is None:
        raise UserError("nothing to export: add --merge, --gguf [TYPE] or --push-to-hub REPO")
    for name in ("to", "dtype"):
        if name in options and not merges:
            raise UserError(
                f"--{name} {printable(str(options[name]))}: it is for a merged model; add --merge"
            )
    if options.get("public") and repo is None:
        raise UserError("--public: nothing is uploaded; add --push-to-hub REPO")
    return {
        "merges": merges,
        "dtype": options.get("dtype"),
        "gguf": options.get("gguf"),
        "repo": repo,
        "public": bool(options.get("public")),
    }


def _target(given: str | None, trained: Trained) -> Path:
    """Where the merged model goes. Raises UserError if something is there."""
    beside = trained.config.output_dir or trained.adapter.resolve().parent
    target = Path(os.path.abspath(os.path.expanduser(given) if given else Path(beside, _MERGED)))
    if os.path.lexists(target):
        raise UserError(
            f"--to {printable(str(target))}: it is there already; delete it, or name another folder"
        )
    existing = next(part for part in target.parents if os.path.lexists(part))
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(f"--to {printable(str(target))}: no folder can be made in {printable(str(existing))}")
    return target


def _tell(told: Told, trained: Trained) -> None:
    """A line for each thing that was made; what is waited for comes and goes."""
    show_waiting(told if told["kind"] == "progress" else None)
    match told["kind"]:
        case "merged":
            _tell_merged(told, trained)
        case "converted":
            say(f"GGUF: {told['path']} ({format_size(told['bytes'])})")
        case "published":
            say(f"On the hub ({'public' if told['public'] else 'private'}): {told['url']}")


def _tell_merged(told: Told, trained: Trained) -> None:
    dtype = told["dtype"]
    say(f"Merged model: {told['folder']} ({dtype}, {format_size(told['bytes'])})")
    if trained.config.quantization in ("nf4", "int8"):
        trained_on = f"The run trained on the base in {trained.config.quantization}"
        say(f"{trained_on}; it is merged into the base's own weights, which were not quantized.")
    kept = math.floor(told["kept"] * 1000) / 10
    say(f"Checked: it loads and computes what base and adapter do; {dtype} holds {kept:g}% of the change.")
    if told["lost"]:
        warn(
            f"the training changed the weights by less than {dtype} can tell: most of it is lost in the "
            "merged model; merge with --dtype float32, or use the adapter"
        )
