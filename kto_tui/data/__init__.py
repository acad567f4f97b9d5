"""Rated rows: where they lie, how they are written, and what is wrong with them. Free of torch."""

from kto_tui.data.load import check_rows, load_rows
from kto_tui.data.rows import Columns, Row

__all__ = ["Columns", "Row", "check_rows", "load_rows"]
