"""What all tests share, and the processes that they start too."""

import os
import signal
from collections.abc import Iterator

import pytest

# Before anything imports torch. The tests' models are too small to be shared out, and where others use the
# cores too, threads that wait for each other take a hundred times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_configure() -> None:
    """Take Ctrl+C and hang-ups as a user's shell gives them: in the background of a script, or below nohup,
    they are ignored, and so they would be by every process that a test starts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache of the tests' own: none reads or fills the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield
