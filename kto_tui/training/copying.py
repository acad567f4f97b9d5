"""Folders that a run takes a copy of, put in their place whole."""

import errno
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from kto_tui.core.errors import UserError
from kto_tui.core.manifest import describe, sync_folder
from kto_tui.models.folder import MARKER
from kto_tui.training.space import writing


def copy_folder(theirs: Path, own: Path, names: Iterable[str] | None = None) -> None:
    """Have `own` hold the files of `theirs`, or those of these names, as files of our own. Raises OSError.

    A failed copy leaves what was there.
    """
    beside = own.with_name(f"{own.name}.new")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        for path in sorted(path for path in theirs.rglob("*") if path.is_file()):
            if names is None or path.name in names:
                place = beside / path.relative_to(theirs)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, place)
        describe(beside)  # Reads each file back and has it reach the disk.
        shutil.rmtree(own, ignore_errors=True)
        beside.rename(own)
    except OSError:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def mark(folder: Path, marker: Mapping[str, str | None]) -> None:
    """Say of which model a folder is, whole or not at all. Raises OSError."""
    beside = folder / f"{MARKER}.new"
    beside.write_text(json.dumps(marker), encoding="utf-8")
    os.replace(beside, folder / MARKER)
    sync_folder(folder)


@contextmanager
def into_run(what: str, folder: Path) -> Iterator[None]:
    """A failed write of `what` as what the user can do about it. Raises UserError."""
    try:
        with writing(what, folder):
            yield
    except OSError as error:
        cause = error.__cause__ or error
        full = isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
        mend = "make room, or choose another folder" if full else "choose another folder"
        raise UserError(f"--output-dir {folder}: {error}; {mend}") from error
