"""How a job names a version of an asset: `asset://ID@N`."""

import re

from orchestrator.library.examine import RENDERED
from orchestrator.store.people import Asset, AssetVersion
from orchestrator.store.protocol import Store
from orchestrator.store.rows import Sight

ASSET_SCHEME = "asset://"
_LINK = re.compile(r"asset://([A-Za-z0-9-]{1,64})@([1-9][0-9]{0,8})")


def asset_url(asset_id: str, number: int) -> str:
    return f"{ASSET_SCHEME}{asset_id}@{number}"


def may_see(asset: Asset, sight: Sight | None) -> bool:
    """What is a project's is its members'; what is in none is its owner's. `sight` None sees all."""
    if sight is None:
        return True
    return asset.owner == sight.owner if asset.project_id is None else asset.project_id in sight.projects


async def find_link(store: Store, url: str) -> tuple[Asset, AssetVersion] | None:
    """What it names, whoever asks; None where there is no such thing."""
    match = _LINK.fullmatch(url)
    asset = await store.get_asset(match[1]) if match else None
    if match is None or asset is None:
        return None
    version = await find_version(store, asset, int(match[2]))
    return (asset, version) if version else None


async def find_version(store: Store, asset: Asset, number: int | None = None) -> AssetVersion | None:
    """That version, or the newest."""
    versions = await store.list_asset_versions(asset.id)
    return next((one for one in versions if number in (None, one.number)), None)


async def asset_fault(store: Store, sight: Sight | None, url: str, engine: str = "") -> str | None:
    """What is wrong with such a URL in a job's input, or None. What one may not see does not exist."""
    found = await find_link(store, url)
    if found is None or not may_see(found[0], sight):
        return (
            "there is no such version of an asset; it is written asset://ID@N, as GET /v1/assets/ID shows it"
        )
    if engine == "blender" and found[0].kind not in RENDERED:
        return not_rendered(found[0])
    return None


def not_rendered(asset: Asset) -> str:
    return f"{asset.name!r:.120} is of the kind {asset.kind}; only .blend files can be rendered"
