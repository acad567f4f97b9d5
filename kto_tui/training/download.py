"""Progress of a download, in bytes, taken from where the hub client would draw a bar."""

import os
from collections.abc import Callable
from typing import Any

from tqdm.auto import tqdm  # type: ignore[import-untyped]

OnBytes = Callable[[int, int], None]


def progress_bar(on_bytes: OnBytes) -> type[tqdm]:
    """A bar class for `snapshot_download(tqdm_class=…)` that draws nothing and calls `on_bytes(done, total)`.

    Bars that count files instead of bytes stay silent.
    """

    class SilentBar(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)
            self._counts_bytes = kwargs.get("unit") == "B" and "Reconstruct" in str(kwargs.get("desc"))
            super().__init__(*args, **{**kwargs, "disable": False, "file": open(os.devnull, "w")})  # noqa: SIM115

        def update(self, n: float | None = 1) -> bool:
            drawn = super().update(n)
            if self._counts_bytes:
                on_bytes(int(self.n), int(self.total or 0))
            return bool(drawn)

        def close(self) -> None:
            super().close()
            if not self.fp.closed:
                self.fp.close()

    return SilentBar
