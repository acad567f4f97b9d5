"""Records of a data set on the hub, split "train", through the `datasets` library and its cache."""

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any

from kto_tui.core.errors import UserError, one_line, printable
from kto_tui.data.wording import listed
from kto_tui.models.hub import HubUnreachableError, ask_hub

SPLIT = "train"


def read_hub(name: str) -> Iterator[tuple[str, Any]]:
    """(where, record) of each row. Raises UserError if it is unknown, gated or out of reach."""
    _refuse_formats(name)
    try:
        ask_hub(name, "README.md", "dataset")
        rows = _load(name)
    except HubUnreachableError as error:
        rows = _load_cached(name, str(error))
    names = {column: names for column, feature in rows.features.items() if (names := _class_names(feature))}
    for number, record in enumerate(rows, 1):
        yield f"{name}, row {number}", _with_names(record, names)


def _refuse_formats(name: str) -> None:
    """The library takes "csv" and the like for its loaders, and would read the whole folder it runs in."""
    if name.isidentifier() and find_spec(f"datasets.packaged_modules.{name}") is not None:
        raise UserError(f"{name} is the name of a format; give a .json, .jsonl, .csv or .parquet file")


def _load(name: str) -> Any:
    import datasets

    try:
        found = datasets.load_dataset(name)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise UserError(
            f"{name}: cannot be loaded from the hub: {printable(one_line(error))};"
            " save its rows as .jsonl and give that file"
        ) from None
    if SPLIT not in found:
        raise UserError(
            f'{name}: no split "{SPLIT}"; found {listed(found)}; save one as .jsonl and give that file'
        )
    return found[SPLIT]


def _load_cached(name: str, reason: str) -> Any:
    """The data set as it was loaded before, or a UserError that gives the reason why it cannot be fetched."""
    import datasets

    asked_before = datasets.config.HF_HUB_OFFLINE
    # The library reads its variable when it is imported, and would else try the hub again for half a minute.
    datasets.config.HF_HUB_OFFLINE = True
    try:
        return _load(name)
    except UserError:
        raise UserError(
            f"{name}: {reason}, no data set of that name is in the local cache, and it is no file;"
            " give a .json, .jsonl, .csv or .parquet file"
        ) from None
    finally:
        datasets.config.HF_HUB_OFFLINE = asked_before


def _class_names(feature: Any) -> list[str] | None:
    """The names of a column whose numbers stand for names; whether 0 is bad or good is theirs to say."""
    return getattr(feature, "names", None)


def _with_names(record: Mapping[str, Any], names: Mapping[str, list[str]]) -> dict[str, Any]:
    named = {
        column: names[column][record[column]]
        for column in names
        if isinstance(record[column], int) and record[column] >= 0
    }
    return {**record, **named}
