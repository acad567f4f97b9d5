"""LLaMA-Factory's dataset_info.json: where the data sets of its settings files lie, and in which columns."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kto_tui.core.neighbours.reading import Keys, is_off, listed

INDEX = "dataset_info.json"
_MOST_BYTES = 4 << 20
_ALPACA = ("instruction", "output")
# The names that data sets have where an entry gives no others; rows are recognized by them here.
_USUAL = {
    "query": ("input",),
    "history": ("history",),
    "system": ("system",),
    "tools": ("tools",),
    "messages": ("messages", "conversations"),
}
_USUAL_TAGS = frozenset(
    {
        *("from", "value", "human", "gpt", "observation", "function_call", "system"),
        *("role", "content", "user", "assistant", "tool"),
    }
)


@dataclass(frozen=True)
class Named:
    """A data set as a settings file names it: its source as --dataset takes it, its entry in the index."""

    name: str
    source: str
    entry: dict[str, Any] = field(default_factory=dict)


def entries_of(path: Path) -> dict[str, Any]:
    """The index; empty where it is none, and then no name is known."""
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(_MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def find(keys: Keys, key: str, index: Path | None, entries: dict[str, Any]) -> list[Named]:
    """What the names under `key` are; nothing where one of them is not known."""
    found = []
    for name in map(str, listed(keys.take(key))):
        entry = entries.get(name)
        if os.path.exists(os.path.expanduser(name)):
            found.append(Named(name, name))
            continue
        source = _source(index, entry) if index is not None and isinstance(entry, dict) else ""
        if not source:
            place = f"no {INDEX} in dataset_dir" if index is None else f"{index} does not name it"
            if isinstance(entry, dict):
                place = f"{index} gives no file of it, and no data set of the Hugging Face hub"
            keys.leave(key, name, f"{place}; give the file with --{key.replace('_', '-')}")
            return []
        found.append(Named(name, source, entry if isinstance(entry, dict) else {}))
    return found


def _source(index: Path, entry: dict[str, Any]) -> str:
    """A data set of the hub, or a file beside the index; "" for those of other places."""
    if isinstance(hub := entry.get("hf_hub_url"), str) and hub:
        subset, split = entry.get("subset") or "", entry.get("split") or ""
        return f"{hub}:{subset}:{split}".rstrip(":")
    file = entry.get("file_name")
    elsewhere = any(entry.get(key) for key in ("ms_hub_url", "om_hub_url", "script_url", "cloud_file_name"))
    return "" if elsewhere or not isinstance(file, str) or not file else str(index.parent / file)


def take_columns(keys: Keys, trained: list[Named], apart: list[Named]) -> None:
    """The columns of the data sets that are used. All are read in those of the first one."""
    first: dict[str, str] = {}
    for place, each in enumerate((*trained, *apart)):
        columns = _columns(each.entry)
        if place == 0:
            first = columns
            for setting, column in columns.items():
                keys.put(setting, column, f"{INDEX}, {each.name}, columns")
        elif columns != first:
            keys.leave(
                _key(each, "columns"),
                columns,
                f"other ones than of {trained[0].name if trained else apart[0].name}, which hold for all",
            )
        _leave_rest(keys, each)


def _columns(entry: dict[str, Any]) -> dict[str, str]:
    """The columns of an entry that are others than rows are recognized by, by our settings."""
    given, found = _mapping(entry, "columns"), {}
    if label := given.get("kto_tag"):
        found["label_column"] = label
    if entry.get("formatting", "alpaca") == "alpaca":
        own = tuple(given.get(key, usual) for key, usual in zip(("prompt", "response"), _ALPACA, strict=True))
        if own != _ALPACA:
            found["prompt_column"], found["completion_column"] = own
    return found


def _leave_rest(keys: Keys, named: Named) -> None:
    """What else an entry says, and is not followed."""
    entry, given = named.entry, _mapping(named.entry, "columns")
    renamed = "prompt_column" in _columns(entry)
    for column, usual in _USUAL.items():
        # A prompt of another name is taken as it is, without what belongs to it in other columns.
        alone = renamed and column in ("query", "history")
        if (name := given.get(column)) and (alone or name not in usual):
            keys.leave(_key(named, column), name, f"expected {usual[0]}; rename the column")
    if odd := sorted(set(_mapping(entry, "tags").values()) - _USUAL_TAGS):
        keys.leave(_key(named, "tags"), odd[0], "expected role and content, or from and value")
    hub = named.source.partition(":")[0] == entry.get("hf_hub_url")
    for key, why in (
        ("num_samples", "all rows are taken; =0.5 behind its name in --dataset takes half of them"),
        ("ranking", "whether rows are pairs is told from their columns"),
        ("folder", "the data set is taken as a whole"),
        *(() if hub else (("split", "the file is taken as a whole"),)),
    ):
        if not is_off(value := entry.get(key)) and (key, value) != ("split", "train"):
            keys.leave(_key(named, key), value, why)


def _mapping(entry: dict[str, Any], key: str) -> dict[str, str]:
    """The texts in a mapping below `key`; nothing where there is none."""
    found = entry.get(key)
    found = found if isinstance(found, dict) else {}
    return {name: value for name, value in found.items() if isinstance(value, str) and value}


def _key(named: Named, key: str) -> str:
    return f"{INDEX}, {named.name}, {key}"
