"""How much of a file is taken into memory, and how far a compressed one may grow."""

MIB = 1 << 20
LARGEST_ROW = 64 * MIB  # Characters, or bytes of a columnar file. The longest context is a few MB of text.
BLOCK = 256 << 10  # Bytes read at a time.
GROWTH = 500  # Times its packed size: text packs 3 to 100 times; a bomb 1000 times with deflate, else more.
FREE_GROWTH = 4 * MIB  # Below this any growth is harmless.
LARGEST_UNPACKED = 256 << 30  # Bytes.
MOST_ENTRIES = 100_000  # Looked at in one folder.


def grows_too_far(unpacked_bytes: int, packed_bytes: int) -> bool:
    """Whether a compressed file looks like a decompression bomb."""
    return unpacked_bytes > min(max(FREE_GROWTH, GROWTH * packed_bytes), LARGEST_UNPACKED)


BOMB = (
    f"unpacks to more than {GROWTH} times its size, as a decompression bomb does;"
    " if you trust it, unpack it yourself and name the unpacked file"
)
