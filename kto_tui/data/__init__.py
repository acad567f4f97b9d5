"""Rated rows: where they lie, how they are written, and what is wrong with them. Free of torch."""

from kto_tui.data.load import OpenedSource, check_rows, load_rows, open_dataset
from kto_tui.data.rows import Columns, Row

__all__ = ["Columns", "OpenedSource", "Row", "check_rows", "load_rows", "open_dataset"]
