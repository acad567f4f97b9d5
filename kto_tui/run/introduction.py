"""What a sitting says of itself first."""

import platform
import socket
import uuid
from collections.abc import Sequence
from importlib import metadata

from kto_tui.core.events import Device, RunStarted

_LIBRARIES = ("kto-tui", "torch", "transformers", "trl", "peft", "bitsandbytes", "datasets", "accelerate")


def introduction(devices: Sequence[Device], resumed_from: str | None) -> RunStarted:
    """Versions, host and devices of a sitting that begins, and the checkpoint that it goes on from."""
    versions = {name: metadata.version(name) for name in _LIBRARIES}
    return RunStarted(
        run_id=uuid.uuid4().hex[:12],
        versions={"python": platform.python_version(), **versions},
        host=socket.gethostname(),
        devices=tuple(device.name for device in devices),
        resumed_from=resumed_from,
    )
