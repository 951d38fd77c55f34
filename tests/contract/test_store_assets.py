"""The library: assets by name, and their versions."""

from dataclasses import replace

import pytest
import store_world
from store_world import BY, add_project, add_user, audit_of

from orchestrator.store.errors import Duplicate, Missing
from orchestrator.store.people import Asset, AssetVersion

store = store_world.store
CAR = Asset("a1", "car", "blend", "ann", None, 1.0)
FILE = AssetVersion("", 0, "assets/1", 10, "00", 1.0, "ann", {"materials": ["Red"], "cameras": 1})


async def add(store, asset=CAR, key="assets/1", by=None):
    return await store.add_asset_version(asset, replace(FILE, key=key), by=by)


async def test_a_name_has_versions(store):
    made, first = await add(store)
    assert (made, first) == (CAR, replace(FILE, asset_id="a1", number=1))
    again, second = await add(store, replace(CAR, id="a9", kind="glb", created_at=5.0), "assets/2")
    assert again == CAR
    assert (second.asset_id, second.number) == ("a1", 2)
    assert await store.list_asset_versions("a1") == [second, first]
    assert await store.list_asset_versions("a9") == []
    assert await store.get_asset("a1") == CAR
    assert await store.get_asset("a9") is None
    with pytest.raises(Duplicate):
        await add(store, replace(CAR, name="boat"))


async def test_a_name_is_a_projects_or_its_owners(store):
    for name in ("ann", "bob"):
        await add_user(store, name)
    await add_project(store)
    shared = replace(CAR, id="a2", project_id="p1")
    bobs = replace(CAR, id="a3", owner="bob")
    for asset in (CAR, shared, bobs):
        assert (await add(store, asset))[0] == asset
    assert (await add(store, replace(shared, id="a4", owner="bob")))[0] == shared
    assert await store.find_asset("car", project_id=None, owner="ann") == CAR
    assert await store.find_asset("car", project_id=None, owner="bob") == bobs
    assert await store.find_asset("car", project_id="p1", owner="bob") == shared
    assert await store.find_asset("boat", project_id=None, owner="ann") is None
    with pytest.raises(Missing):
        await add(store, replace(CAR, id="a5", project_id="nope"), by=BY)
    assert await store.list_assets(owner=None, projects=()) == [CAR, shared, bobs]
    assert await store.list_assets(owner=None, projects=(), after="a1", limit=1) == [shared]
    assert await store.list_assets(owner="ann", projects=()) == [CAR]
    assert await store.list_assets(owner="bob", projects=("p1", "p2")) == [shared, bobs]
    assert await store.list_assets(owner="bob", projects=("p1",), after="a2") == [bobs]


async def test_an_asset_is_removed_with_its_versions(store):
    for number in (1, 2):
        await add(store, key=f"assets/{number}", by=BY)
    assert await store.remove_asset("a1", by=BY, now=9.0) == ["assets/2", "assets/1"]
    assert await store.remove_asset("a1", by=BY, now=9.0) == []
    assert await store.list_asset_versions("a1") == []
    assert await store.find_asset("car", project_id=None, owner="ann") is None
    rows = await audit_of(store, target="a1")
    assert [one.what for one in rows] == ["asset.add", "asset.add", "asset.remove"]
    assert rows[1].after["version"]["number"] == 2
    assert rows[2].before["versions"] == 2
    assert (await add(store))[1].number == 1
