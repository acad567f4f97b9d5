"""The reference model's log-probabilities, computed once and kept. Free of torch, but for `fingerprint`."""

from kto_tui.training.reference.keys import block_key
from kto_tui.training.reference.store import DEFAULT_LIMIT_BYTES, ReferenceCache, default_root

__all__ = ["DEFAULT_LIMIT_BYTES", "ReferenceCache", "block_key", "default_root"]
