"""The data files in a folder: one kind of data, the training split of it, shards in order."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kto_tui.core.errors import UserError, printable
from kto_tui.data.files.limits import MIB, MOST_ENTRIES
from kto_tui.data.files.names import FILE_TYPES, Kind, is_held_out, kind_of
from kto_tui.data.wording import listed, shown

# What `datasets` writes beside the rows.
_SPLITS, _STATE = "dataset_dict.json", "state.json"
_ABOUT = (_SPLITS, _STATE, "dataset_info.json", "dataset_infos.json")


def data_files(folder: Path, source: str) -> list[str]:
    """The paths, below the folder, of the files to read. Raises UserError."""
    if (folder / _SPLITS).is_file():
        split = _training_split(_loaded(folder / _SPLITS, f"{source}/{_SPLITS}"), source)
        return [f"{split}/{name}" for name in data_files(folder / split, f"{source}/{split}")]
    if (folder / _STATE).is_file():
        return _shards(_loaded(folder / _STATE, f"{source}/{_STATE}"), f"{source}/{_STATE}")
    names, _ = _parted(folder, source)
    if not names:
        raise UserError(
            f"{source}: no data file in the folder; expected some that end in {listed(FILE_TYPES)}"
        )
    _require_one_kind(names, source)
    return names


def left_out(folder: Path, source: str) -> list[str]:
    """The paths, below the folder, of the data files held out by their names. Raises UserError."""
    if (folder / _SPLITS).is_file() or (folder / _STATE).is_file():
        return []
    return _parted(folder, source)[1]


def _parted(folder: Path, source: str) -> tuple[list[str], list[str]]:
    """The files to read, and those held out. A folder with test files only was named for them."""
    found = sorted(_walk(folder, source))
    names = [name for name in found if not is_held_out(name)]
    return (names, [name for name in found if is_held_out(name)]) if names else (found, [])


def _walk(folder: Path, source: str) -> Iterator[str]:
    """The data files, hidden ones left out. Links to folders are not followed: they may lead in a circle."""
    seen = 0

    def refuse(error: OSError) -> None:
        below = os.path.relpath(error.filename, folder)
        place = source if below == os.curdir else f"{source}/{printable(below)}"
        raise UserError(f"{place}: cannot be read: {error.strerror}") from None

    for root, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        seen += len(folders) + len(files)
        if seen > MOST_ENTRIES:
            raise UserError(f"{source}: more than {MOST_ENTRIES:,} files in the folder; name a smaller one")
        for name in files:
            if not name.startswith(".") and name not in _ABOUT and kind_of(name):
                yield os.path.relpath(os.path.join(root, name), folder)


def _require_one_kind(names: list[str], source: str) -> None:
    examples: dict[Kind, str] = {}
    for name in names:
        kind = kind_of(name)
        assert kind is not None
        examples.setdefault(kind[0], name)
    if len(examples) > 1:
        raise UserError(
            f"{source}: several kinds of data in the folder ({listed(list(examples.values())[:3])});"
            " expected one: name a file, or move the others away"
        )


def _loaded(path: Path, source: str) -> dict[str, Any]:
    """One of the files that `datasets` writes beside the rows."""
    try:
        with path.open("rb") as file:
            value = json.loads(file.read(MIB))
    except (ValueError, RecursionError):
        value = None
    except OSError as error:
        raise UserError(f"{source}: cannot be read: {error.strerror}") from None
    if not isinstance(value, dict):
        raise UserError(f"{source}: not what save_to_disk writes; save the data set again")
    return value


def _training_split(about: dict[str, Any], source: str) -> str:
    splits = about.get("splits")
    if not isinstance(splits, list) or not all(_is_plain(name) for name in splits):
        raise UserError(f"{source}/{_SPLITS}: no list of splits; save the data set again")
    kept = [name for name in splits if not is_held_out(name)] or splits
    if "train" in splits:
        return "train"
    if len(kept) != 1:
        raise UserError(f"{source}: the splits are {listed(splits)}; name the folder of one of them")
    return str(kept[0])


def _shards(about: dict[str, Any], source: str) -> list[str]:
    """The files of a data set, in its order: `map` leaves others beside them."""
    files = about.get("_data_files")
    names = (
        [item.get("filename") for item in files if isinstance(item, dict)] if isinstance(files, list) else []
    )
    for name in names:
        if not _is_plain(name) or kind_of(str(name)) is None:
            raise UserError(f"{source}: lists the file {shown(name)}; save the data set again")
    if not names:
        raise UserError(f"{source}: lists no data files; save the data set again")
    return [str(name) for name in names]


def _is_plain(name: Any) -> bool:
    return isinstance(name, str) and name not in ("", ".", "..") and "/" not in name and "\0" not in name
