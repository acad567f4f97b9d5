"""How full the run's devices are: one bar each."""

from collections.abc import Sequence

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from kto_tui.core.events import Device
from kto_tui.insight.text import clean_text, format_percent, format_whole
from kto_tui.ui.widgets.bar import split_bar

_GIB = 1 << 30
HOST_LABEL = "worker memory / host RAM (no NVIDIA GPU)"
_LEAST_BAR = 8


class MemoryGauge(Widget):
    """Used over total GiB with utilization, temperature and power; what is not known is left out."""

    devices: reactive[Sequence[Device]] = reactive(())

    def on_mount(self) -> None:
        self.border_title = "Memory"

    def watch_devices(self, before: Sequence[Device], after: Sequence[Device]) -> None:
        if len(before) != len(after):
            self.refresh(layout=True)

    def render(self) -> Content:
        if not self.devices:
            return Content.styled("no reading yet", "$foreground 60%")
        return Content("\n").join([self._line(device) for device in self.devices])

    def _line(self, device: Device) -> Content:
        share = device.memory_used_bytes / device.memory_total_bytes if device.memory_total_bytes else 0.0
        figures = f" {figures_text(device)}"
        label = self._label(device, self.size.width - len(figures) - _LEAST_BAR)
        width = max(_LEAST_BAR, self.size.width - label.cell_length - len(figures))
        filled, empty = split_bar(share, min(width, 60))
        tone = "$error" if share > 0.95 else "$warning" if share > 0.85 else "$success"
        return label + Content.assemble((filled, tone), (empty, "$foreground 30%"), figures)

    def _label(self, device: Device, room: int) -> Content:
        """As much of the name as there is room for; that it is no GPU is never left out."""
        if device.kind == "host":
            texts = [HOST_LABEL, "worker / host RAM (no GPU)", "host RAM"]
        else:
            name = clean_text(device.name)
            short = name.removeprefix("NVIDIA ").removeprefix("GeForce ")
            texts = [f"GPU {device.index} {name}", f"GPU {device.index} {short}", f"GPU {device.index}"]
        text = next((text for text in texts if len(text) < room), texts[-1])
        return Content(text + " ")


def figures_text(device: Device) -> str:
    """ "21.4/24.0 GiB  97%  71°C  341 W": memory first, then what else is known."""
    parts = [f"{device.memory_used_bytes / _GIB:.1f}/{device.memory_total_bytes / _GIB:.1f} GiB"]
    if device.utilization is not None:
        parts.append(f"util {format_percent(device.utilization)}")
    if device.temperature_c is not None:
        parts.append(f"{format_whole(device.temperature_c)}°C")
    if device.power_w is not None:
        parts.append(f"{format_whole(device.power_w)} W")
    return "  ".join(parts)
