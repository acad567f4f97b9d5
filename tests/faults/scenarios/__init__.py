"""All scenarios, in the order in which they are played and shown."""

from tests.faults.scenarios import damage, disks, kills, signals, starts, steering
from tests.faults.scenarios.registry import Scenario

SCENARIOS: tuple[Scenario, ...] = (
    *kills.SCENARIOS,
    *signals.SCENARIOS,
    *steering.SCENARIOS,
    *disks.SCENARIOS,
    *damage.SCENARIOS,
    *starts.SCENARIOS,
)
