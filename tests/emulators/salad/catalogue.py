"""The GPU classes for sale: prices are strings, names carry the memory and stray spaces, some are near duplicates."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

USD_PER_VCPU_HOUR = Decimal("0.004")
USD_PER_GB_HOUR = Decimal("0.001")


@dataclass(frozen=True, slots=True)
class GpuClass:
    """`prices` by priority, USD an hour."""

    id: str
    name: str
    prices: dict[str, str]
    kind: str = "community"

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "prices": [{"priority": priority, "price": price} for priority, price in self.prices.items()],
            "gpu_class_type": self.kind,
            "gpu_count": 1,
            "is_high_demand": False,
            "min_vcpu": 1,
            "max_vcpu": 16,
            "min_ram": 1024,
            "max_ram": 61440,
            "min_storage": 1073741824,
            "max_storage": 268435456000,
        }


def _prices(high: str, medium: str, low: str, batch: str) -> dict[str, str]:
    return {"high": high, "medium": medium, "low": low, "batch": batch}


CLASSES = (
    GpuClass(
        "a5db5c50-cbcb-4596-ae80-6a0c8090d80f",
        " NVIDIA GeForce RTX 3090 (24 GB)",
        _prices("0.250", "0.197", "0.143", "0.090"),
    ),
    GpuClass(
        "9998fe42-04a5-4807-b3a5-849943f16c38",
        "NVIDIA GeForce RTX 3090 Ti (24 GB)",
        _prices("0.280", "0.220", "0.160", "0.100"),
    ),
    GpuClass(
        "6d4e9e99-d27e-4751-8d7d-393f7d8ea949",
        "NVIDIA RTX A5000 (24 GB)",
        _prices("0.250", "0.197", "0.143", "0.090"),
    ),
    GpuClass(
        "ed563892-aacd-40f5-80b7-90c9be6c759b",
        "NVIDIA GeForce RTX 4090 (24 GB)",
        _prices("0.300", "0.253", "0.207", "0.160"),
    ),
    GpuClass(
        "2f1d3b1c-7f0b-4d0e-9d9a-3a2f4c5d6e70",
        "NVIDIA GeForce RTX 4090  (24 GB) ",
        {"high": "0.600"},
        "secure",
    ),
    GpuClass(
        "f51baccc-dc95-40fb-a5d1-6d0ee0db31d2",
        "NVIDIA GeForce RTX 3060 (12 GB)",
        _prices("0.080", "0.067", "0.053", "0.040"),
    ),
    GpuClass("851399fb-7329-4195-a042-d6514b28cf33", "NVIDIA GeForce RTX 5090 (32 GB)", {"medium": "0.417"}),
    GpuClass("83ef776e-ce34-4d89-8cf9-81898f1416fa", " RTX 5090 Laptop (24 GB)", {"medium": "0.250"}),
)
BY_ID = {one.id: one for one in CLASSES}


def usd_per_hour(resources: dict[str, Any], priority: str) -> Decimal | None:
    """The price of one replica with these resources; None where it is not sold at that priority."""
    gpu = gpu_class(resources)
    if gpu is None:
        vcpus, memory_mb = Decimal(resources["cpu"]), Decimal(resources["memory"])
        return USD_PER_VCPU_HOUR * vcpus + USD_PER_GB_HOUR * memory_mb / 1024
    price = gpu.prices.get(priority)
    return None if price is None else Decimal(price)


def gpu_class(resources: dict[str, Any]) -> GpuClass | None:
    """The class that one gets of those asked for."""
    wanted = resources.get("gpu_classes") or []
    return BY_ID[wanted[0]] if wanted else None
