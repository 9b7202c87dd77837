"""DRAM: presets, address mappings, requests, command programs, streams and energy."""

from codesign.memory.addresses import AddressMapping, Location
from codesign.memory.device import Device, Verdict
from codesign.memory.energy import DramEnergy, command_prices, energy_of, refresh_pj_per_cycle
from codesign.memory.requests import (
    RequestTimeline,
    simulate_commands,
    simulate_located,
    simulate_requests,
)
from codesign.memory.spec import DramSpec, command_ids, dram, presets, rules
from codesign.memory.streams import Stream, stream_cycles

__all__ = [
    "AddressMapping",
    "Device",
    "DramEnergy",
    "DramSpec",
    "Location",
    "RequestTimeline",
    "Stream",
    "Verdict",
    "command_ids",
    "command_prices",
    "dram",
    "energy_of",
    "presets",
    "refresh_pj_per_cycle",
    "rules",
    "simulate_commands",
    "simulate_located",
    "simulate_requests",
    "stream_cycles",
]
