"""One module per FPGA family; importing this package fills the table of devices."""

from importlib import import_module
from pkgutil import iter_modules

from hls.device.base import (
    DEVICES,
    Device,
    Synthesis,
    default_device,
    device_of,
    estimated_device,
    find_device,
    register,
)

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = [
    "DEVICES",
    "Device",
    "Synthesis",
    "default_device",
    "device_of",
    "estimated_device",
    "find_device",
    "register",
]
