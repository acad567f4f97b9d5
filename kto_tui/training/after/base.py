"""The base model and the adapter that a command of the terminal asked for."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from kto_tui.core.config import RunConfig
from kto_tui.training.after.pipe import Pipe


@contextmanager
def settings_in_place(pipe: Pipe, asked: Mapping[str, Any]) -> Iterator[RunConfig]:
    """The settings that came along, their output_dir a folder: a passing one for an adapter without a run."""
    config = msgspec.convert(asked, RunConfig)
    with tempfile.TemporaryDirectory(prefix="kto-tui-") as passing:
        pipe.leftovers.append(Path(passing))
        yield config if config.output_dir else msgspec.structs.replace(config, output_dir=passing)


def saved_tokenizer(adapter: Path, base: Path) -> Path:
    """The folder of the tokenizer and chat template that were trained with: the adapter's, or the base's."""
    return adapter if (adapter / "tokenizer_config.json").is_file() else base
