"""Rated rows: where they lie, how they are written, and what is wrong with them. Free of torch."""

from kto_tui.core.counts import Counts
from kto_tui.data.hub import check_model
from kto_tui.data.load import check_rows, count_rows, load_rows
from kto_tui.data.rows import Columns, Row

__all__ = ["Columns", "Counts", "Row", "check_model", "check_rows", "count_rows", "load_rows"]
