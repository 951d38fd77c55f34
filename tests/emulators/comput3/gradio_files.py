"""The files of a Gradio app: known to clients by a path under its temporary folder, kept under one of ours."""

import hashlib
from pathlib import Path
from typing import Any

API = "/gradio_api"


class GradioFiles:
    """`known` are the files by the path that clients name them by: uploads and outputs alike."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.known: dict[str, Path] = {}

    def keep(self, name: str, content: bytes) -> str:
        clean = "".join(one for one in name if one.isalnum() or one in "._- ")
        digest = hashlib.sha256(content).hexdigest()
        local = self._folder / digest / clean
        local.parent.mkdir(parents=True, exist_ok=True)
        local.write_bytes(content)
        shown = f"/tmp/gradio/{digest}/{clean}"
        self.known[shown] = local
        return shown

    def shown(self, output: Any, root: str) -> Any:
        """An output as the client gets it; only those of a list have their size."""
        match output:
            case Path():
                return self._file_data(output, root, None)
            case [*files] if files and all(isinstance(one, Path) for one in files):
                return [self._file_data(one, root, one.stat().st_size) for one in files]
            case _:
                return output

    def _file_data(self, file: Path, root: str, size: int | None) -> dict[str, Any]:
        path = self.keep(file.name, file.read_bytes())
        return {
            "path": path,
            "url": f"{root}{API}/file={path}",
            "size": size,
            "orig_name": file.name,
            "mime_type": None,
            "is_stream": False,
            "meta": {"_type": "gradio.FileData"},
        }
