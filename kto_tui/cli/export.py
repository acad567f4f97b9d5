"""`kto-tui export`: what a run has trained as a whole model, as GGUF, or on the hub."""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from kto_tui.cli.helper import Helper, HelperDied, Told, ended_by_signals, show_waiting
from kto_tui.cli.screen import say, warn
from kto_tui.core.errors import UserError, printable
from kto_tui.core.sizes import format_size
from kto_tui.models.merged import MARKER, merged_dtype
from kto_tui.run.trained import Trained, held_trained

_MODULE = "kto_tui.training.merging"
_MERGED = "merged_model"


def export(options: Mapping[str, Any]) -> int:
    """Export as asked, and say what was written. Returns the exit code. Raises UserError."""
    request = _request(options)
    try:
        with ended_by_signals(), held_trained(options["run_dir"]) as trained:
            _export(options, request, trained)
    except HelperDied as death:
        warn(f"export failed: {death}")
        return 1
    return 0


def _export(options: Mapping[str, Any], request: dict[str, Any], trained: Trained) -> None:
    if request.pop("merges"):
        request |= _place(options, request, trained)
    for note in trained.notes:
        warn(note)
    say(f"Exporting {trained.name}")
    if request.get("merged"):
        say(f"Merged before: {printable(request['to'])} ({request['merged']})")
    request |= {
        "config": msgspec.to_builtins(trained.config),
        "adapter": str(trained.adapter.resolve()),
        "used": _used(trained),
    }
    _carry_out(request, trained)


def _carry_out(request: dict[str, Any], trained: Trained) -> None:
    merged = request["to"] if request.get("merged") else None
    with Helper(_MODULE, request) as helper:
        try:
            for told in helper.told():
                _tell(told, trained)
                merged = told["folder"] if told["kind"] == "merged" else merged
        except (KeyboardInterrupt, SystemExit):
            show_waiting(None)
            if merged and request["gguf"]:
                warn(f"stopped; the merged model is in {merged}: the same command goes on from it")
            raise
        finally:
            show_waiting(None)


def _used(trained: Trained) -> dict[str, str]:
    """What the card says that the run has trained on."""
    base = trained.base
    return {"quantization": base.quantization, "dtype": base.dtype} if base else {}


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


def _place(options: Mapping[str, Any], request: Mapping[str, Any], trained: Trained) -> dict[str, str]:
    """Where the merged model goes, or lies already, for a conversion. Raises UserError."""
    given = options.get("to")
    beside = trained.config.output_dir or trained.adapter.resolve().parent
    target = Path(os.path.abspath(os.path.expanduser(given) if given else Path(beside, _MERGED)))
    lies = merged_dtype(target, trained.adapter, trained.config.model) if target.is_dir() else None
    if request["gguf"] and not options.get("merge") and lies and request["dtype"] in (None, lies):
        return {"to": str(target), "merged": lies}
    _check_target(target, trained, lies)
    return {"to": str(target)}


def _check_target(target: Path, trained: Trained, lies: str | None) -> None:
    """Raises UserError if something is there, or nothing can be made there.

    `lies`: the dtype in which this very adapter lies merged there.
    """
    if os.path.lexists(target):
        what = ""
        if lies:
            what = f" ({trained.name}, merged in {lies})"
        elif (target / MARKER).is_file():
            what = f" (merged from another adapter than {trained.name}, or damaged)"
        raise UserError(
            f"--to {printable(str(target))}: it is there already{what}; delete it, or name another with --to"
        )
    existing = next(part for part in target.parents if os.path.lexists(part))
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(f"--to {printable(str(target))}: no folder can be made in {printable(str(existing))}")


def _tell(told: Told, trained: Trained) -> None:
    """A line for each thing that was made; what is waited for comes and goes."""
    show_waiting(told if told["kind"] == "progress" else None)
    match told["kind"]:
        case "merged":
            _tell_merged(told, trained)
        case "converted":
            say(f"GGUF: {told['path']} ({format_size(told['bytes'])})")
        case "noted":
            warn(told["message"])
        case "published":
            say(f"On the hub ({'public' if told['public'] else 'private'}): {told['url']}")


def _tell_merged(told: Told, trained: Trained) -> None:
    dtype = told["dtype"]
    say(f"Merged model: {told['folder']} ({dtype}, {format_size(told['bytes'])})")
    packed = trained.base.quantization if trained.base else trained.config.quantization
    if packed in ("nf4", "int8"):
        trained_on = f"The run trained on the base in {packed}"
        say(f"{trained_on}; it is merged into the base's own weights, which were not quantized.")
    say(
        f"Checked: loaded again, its logits for {told['probes']} tokens are off those of base and adapter in "
        f"{dtype} by {100 * told['off']:.2g}% of their spread."
    )
    if told["kept"] is None:
        warn("the adapter changes nothing: the merged model is the base")
        return
    say(f"{dtype} holds {math.floor(told['kept'] * 1000) / 10:g}% of what the training changed.")
    if told["lost"]:
        warn(
            f"the training changed the weights by less than {dtype} can tell: most of it is lost in the "
            "merged model; merge with --dtype float32, or use the adapter"
        )
