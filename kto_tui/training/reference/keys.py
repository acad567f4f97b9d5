"""What a block is called in the cache: a digest of all that its reference log-probabilities depend on."""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

KEY_BYTES = 16


def block_key(*arrays: NDArray[Any]) -> bytes:
    """16 bytes that stand for the types, shapes and contents of these arrays, in this order.

    Each array is preceded by its type and shape, and these by their length, so that no two different lists
    of arrays are written as the same bytes. Raises TypeError for arrays of Python objects, whose bytes are
    mere addresses.
    """
    digest = hashlib.blake2b(digest_size=KEY_BYTES, person=b"kto-tui block")
    for array in map(np.asarray, arrays):
        if array.dtype.hasobject:
            raise TypeError(f"a block's key cannot be made from an array of {array.dtype}")
        kind = f"{array.dtype.str} {array.shape}".encode()
        digest.update(len(kind).to_bytes(4, "little"))
        digest.update(kind)
        digest.update(array.tobytes())
    return digest.digest()
