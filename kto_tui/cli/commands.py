"""The commands beside that of a run, and their options."""

import argparse
from typing import Any

from kto_tui.cli.options import add_run_options, add_settings
from kto_tui.core.config import GROUPS

_SHELLS = ("bash", "zsh", "tcsh")
_TRAINED = "a run, one of its checkpoints, or its final_model"


def add_commands(commands: Any) -> None:
    """Add every command to the sub-parsers."""
    shared = {"allow_abbrev": False, "argument_default": argparse.SUPPRESS}
    attach = commands.add_parser(
        "attach", help="watch and steer a run that is alive; replay one that has ended", **shared
    )
    attach.add_argument("run_dir", nargs="?", metavar="RUN_DIR", help="default: the newest run alive")
    attach.add_argument("--no-ui", action="store_true", help="print the metrics table")
    runs = commands.add_parser("runs", help="every run below a folder: state, step, margin, checkpoints")
    runs.add_argument("root", nargs="?", metavar="ROOT", default=".", help="default: this folder")
    plan = commands.add_parser(
        "plan", help="what would run: settings, data, memory; starts nothing", **shared
    )
    plan.add_argument(
        "--gpu", metavar="NAME", help='plan for this GPU instead of the one that is there: "RTX 3090"'
    )
    plan.add_argument("--vram", metavar="GIB", type=float, help="plan for a GPU with so much memory")
    add_run_options(plan)
    _add_data_commands(commands, shared)
    _add_model_commands(commands, shared)
    completion = commands.add_parser("completion", help="print a completion script for your shell")
    completion.add_argument("shell", choices=_SHELLS)
    supervise = commands.add_parser("supervise", **shared)  # Started by kto-tui itself: not in the help.
    supervise.add_argument("run_dir")
    supervise.add_argument("--resume-from-checkpoint")
    supervise.add_argument("--allow-changed-settings", action="store_true")


def _add_data_commands(commands: Any, shared: dict[str, Any]) -> None:
    check = commands.add_parser(
        "check-data", help="what rated data holds, and what is wrong with it", **shared
    )
    check.add_argument("source", nargs="*", metavar="FILE", help="rated rows, as for --dataset")
    check.add_argument("--fix", metavar="FILE", help="write the rows that can be trained on there, as .jsonl")
    check.add_argument("--config", metavar="FILE", help="YAML with any of these settings as keys")
    add_settings(check, ("Model", "Data"), without=("eval_fraction",))
    export = commands.add_parser("export-config", help="the same run in another trainer's words", **shared)
    export.add_argument("run_dir", nargs="?", metavar="RUN_DIR", help="a run (or give settings as options)")
    export.add_argument("--to", choices=("trl",), required=True, help="whose words")
    export.add_argument("--config", metavar="FILE", help="YAML with any of these settings as keys")
    add_settings(export, GROUPS)


def _add_model_commands(commands: Any, shared: dict[str, Any]) -> None:
    chat = commands.add_parser("chat", help="talk to the base and the tuned model side by side", **shared)
    chat.add_argument("run_dir", metavar="RUN_DIR", help=_TRAINED)
    chat.add_argument("--prompt", metavar="TEXT", action="append", help="ask this, then leave (repeatable)")
    chat.add_argument("--max-new-tokens", metavar="N", type=int, help="longest answer (default: 256)")
    chat.add_argument("--temperature", metavar="T", type=float, help="0: always the likeliest (default: 0)")
    export = commands.add_parser("export", help="the trained model merged, as GGUF, or on the hub", **shared)
    export.add_argument("run_dir", metavar="RUN_DIR", help=_TRAINED)
    export.add_argument("--merge", action="store_true", help="write the whole model with the adapter inside")
    export.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="of the merged weights")
    export.add_argument("--to", metavar="DIR", help="where to (default: merged_model inside the run)")
    export.add_argument("--gguf", metavar="TYPE", nargs="?", const="f16", help="as GGUF too, by llama.cpp")
    export.add_argument("--push-to-hub", metavar="REPO", help="upload to this repository (owner/name)")
    export.add_argument("--public", action="store_true", help="the repository is to be public")
