"""Records of a data set on the hub, through the `datasets` library and its cache.

A name is owner/name, owner/name:config, owner/name:config:split or owner/name::split; the split is "train"
where none is named. The rows stay on disk, mapped into memory.
"""

import re
from collections.abc import Collection, Iterator
from importlib.util import find_spec
from typing import Any

from kto_tui.core.errors import UserError, one_line, printable
from kto_tui.data.files.class_names import with_names
from kto_tui.data.files.gaps import closing
from kto_tui.data.wording import listed
from kto_tui.models.hub import HubUnreachableError, ask_hub

SPLIT = "train"
_CONFIGS = re.compile(
    r"(?:[Aa]vailable(?: configs)?(?: in the cache)?: \[|configurations in the cache: )([^]\n]+)"
)
_FILE = "give a .json, .jsonl, .csv or .parquet file"


class HubRows:
    """The rows of one split."""

    def __init__(self, name: str, rows: Any) -> None:
        self._name, self._rows = printable(name), rows

    def records(self, columns: Collection[str] | None = None) -> Iterator[tuple[str, Any]]:
        """(where, record) of each row, with those of the columns that there are, or all."""
        rows = self._rows
        if columns is not None and (chosen := [name for name in rows.column_names if name in columns]):
            rows = rows.select_columns(chosen)
        features = rows.features.items()
        names = {column: names for column, feature in features if (names := _class_names(feature))}
        schema = rows.features.arrow_schema
        nested = [(field.name, close) for field in schema if (close := closing(field.type))]
        for number, record in enumerate(rows, 1):
            for name, close in nested:
                close(record[name])
            yield f"{self._name}, row {number}", with_names(record, names) if names else record


def split_name(name: str) -> tuple[str, str | None, str | None]:
    """Id, configuration and split of owner/name:config:split; None where nothing is named."""
    owner, _, rest = name.partition(":")
    config, _, split = rest.partition(":")
    return owner, config or None, split or None


def open_hub(name: str) -> HubRows:
    """The split that is named. Raises UserError if it is unknown, gated or out of reach."""
    owner, config, split = split_name(name)
    _refuse_formats(owner)
    try:
        ask_hub(owner, "README.md", "dataset")
        found = _load(owner, config)
    except HubUnreachableError as error:
        found = _load_cached(owner, config, str(error))
    return HubRows(name, _split(found, owner, config, split))


def _refuse_formats(name: str) -> None:
    """The library takes "csv" and the like for its loaders, and would read the whole folder it runs in."""
    if name.isidentifier() and find_spec(f"datasets.packaged_modules.{name}") is not None:
        raise UserError(f"{name} is the name of a format; {_FILE}")


def _split(found: Any, owner: str, config: str | None, split: str | None) -> Any:
    name = split or SPLIT
    if name in found:
        return found[name]
    other = f"{printable(owner)}:{printable(config or '')}:{printable(next(iter(found), 'SPLIT'))}"
    raise UserError(
        f'{printable(owner)}: no split "{printable(name)}"; found {listed(found)}; choose one as in {other}'
    )


def _load(name: str, config: str | None) -> Any:
    import datasets

    try:
        return datasets.load_dataset(name, config)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        if configs := _configs(error):
            raise UserError(
                f"{printable(name)}: {_unknown(config)}; found {listed(configs)};"
                f" choose one as in {printable(name)}:{printable(configs[0])}"
            ) from None
        raise UserError(
            f"{printable(name)}: cannot be loaded from the hub: {printable(one_line(error))};"
            " save its rows as .jsonl and give that file"
        ) from None


def _unknown(config: str | None) -> str:
    return f'no configuration "{printable(config)}"' if config else "has several configurations"


def _configs(error: Exception) -> list[str]:
    """The configurations there are, if it was for their sake that loading failed: the library lists them."""
    found = _CONFIGS.search(str(error))
    return sorted(name.strip(" '\"") for name in found[1].split(",")) if found else []


def _load_cached(name: str, config: str | None, reason: str) -> Any:
    """The data set as it was loaded before, or a UserError that gives the reason why it cannot be fetched."""
    import datasets

    asked_before = datasets.config.HF_HUB_OFFLINE
    # The library reads its variable when it is imported, and would else try the hub again for half a minute.
    datasets.config.HF_HUB_OFFLINE = True
    try:
        return _load(name, config)
    except UserError as error:
        if "; choose one as in " in str(error):
            raise
        named = f"{printable(name)}:{printable(config)}" if config else printable(name)
        raise UserError(
            f"{named}: {reason}, no data set of that name is in the local cache, and it is no file; {_FILE}"
        ) from None
    finally:
        datasets.config.HF_HUB_OFFLINE = asked_before


def _class_names(feature: Any) -> list[str] | None:
    """The names of a column whose numbers stand for names."""
    return getattr(feature, "names", None)
