"""The model's aliases, uploads and assets."""

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.store import changes
from orchestrator.store.changes import Change, shown
from orchestrator.store.errors import Duplicate, Missing
from orchestrator.store.memory.world import Model
from orchestrator.store.people import Asset, AssetVersion, By, Upload


class LibraryVerbs(Model):
    # Ids of other systems

    async def alias(self, surface: str, kind: str, target: str, owner: str) -> int:  # noqa: ARG002
        given = self.world.aliases.setdefault((surface, kind), {})
        if target not in given:
            number = self.world.aliases_made.get((surface, kind), 0) + 1
            self.world.aliases_made[surface, kind] = given[target] = number
        return given[target]

    async def aliases(self, surface: str, kind: str, targets: Sequence[str]) -> dict[str, int]:
        given = self.world.aliases.get((surface, kind), {})
        return {one: given[one] for one in targets if one in given}

    async def resolve_alias(self, surface: str, kind: str, number: int) -> str | None:
        given = self.world.aliases.get((surface, kind), {})
        return next((target for target, one in given.items() if one == number), None)

    # Uploads

    async def add_upload(self, upload: Upload, *, by: By | None = None) -> None:
        if upload.id in self.world.uploads:
            raise Duplicate("an upload with this id is there already")
        self.world.uploads[upload.id] = upload
        self.audit(by, Change("upload.add", upload.id, upload.created_at, after=shown(upload)))

    async def get_upload(self, upload_id: str) -> Upload | None:
        return self.world.uploads.get(upload_id)

    async def list_uploads(
        self, owner: str | None, *, before: tuple[float, str] | None, limit: int
    ) -> list[Upload]:
        found = [
            one
            for one in self.world.uploads.values()
            if owner in (None, one.owner) and (before is None or (one.created_at, one.id) < before)
        ]
        return sorted(found, key=lambda one: (one.created_at, one.id), reverse=True)[:limit]

    async def finish_upload(
        self, upload_id: str, *, size_bytes: int, sha256: str, now: float, by: By | None
    ) -> Upload | None:
        before = self.world.uploads.get(upload_id)
        if before is None or before.stored_at is not None:
            return before
        after = replace(before, size_bytes=size_bytes, sha256=sha256, stored_at=now, parts_id=None)
        self.world.uploads[upload_id] = after
        self.audit(by, Change("upload.finish", upload_id, now, shown(before), shown(after)))
        return after

    async def remove_upload(self, upload_id: str, *, by: By | None, now: float) -> Upload | None:
        before = self.world.uploads.pop(upload_id, None)
        if before is not None:
            self.audit(by, Change("upload.remove", upload_id, now, before=shown(before)))
        return before

    # Assets

    async def add_asset_version(
        self, asset: Asset, version: AssetVersion, *, by: By | None
    ) -> tuple[Asset, AssetVersion]:
        known = await self.find_asset(asset.name, project_id=asset.project_id, owner=asset.owner)
        if known is None:
            if asset.id in self.world.assets:
                raise Duplicate("an asset with this id is there already")
            if asset.project_id is not None and asset.project_id not in self.world.projects:
                raise Missing("it names something that is not there")
            known = self.world.assets[asset.id] = asset
        versions = self.world.asset_versions.setdefault(known.id, [])
        made = replace(version, asset_id=known.id, number=len(versions) + 1)
        versions.append(made)
        self.audit(by, changes.asset_added(known, made))
        return known, made

    async def get_asset(self, asset_id: str) -> Asset | None:
        return self.world.assets.get(asset_id)

    async def find_asset(self, name: str, *, project_id: str | None, owner: str) -> Asset | None:
        found = (
            one
            for one in self.world.assets.values()
            if (one.name, one.project_id) == (name, project_id)
            and (project_id is not None or one.owner == owner)
        )
        return next(found, None)

    async def list_assets(
        self, *, owner: str | None, projects: Sequence[str], after: str | None = None, limit: int = 100
    ) -> list[Asset]:
        found = [
            one
            for name, one in sorted(self.world.assets.items())
            if name > (after or "") and (owner is None or _seen(one, owner, projects))
        ]
        return found[:limit]

    async def list_asset_versions(self, asset_id: str) -> list[AssetVersion]:
        return self.world.asset_versions.get(asset_id, [])[::-1]

    async def remove_asset(self, asset_id: str, *, by: By | None, now: float) -> list[str]:
        asset = self.world.assets.pop(asset_id, None)
        if asset is None:
            return []
        keys = [one.key for one in reversed(self.world.asset_versions.pop(asset_id))]
        self.audit(by, changes.asset_removed(asset, len(keys), now))
        return keys


def _seen(asset: Asset, owner: str, projects: Sequence[str]) -> bool:
    return asset.owner == owner if asset.project_id is None else asset.project_id in projects
