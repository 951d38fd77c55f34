"""Files that are not what they are called, or that do more than they should."""

import io
import stat
import struct
import zipfile
import zlib

PLAYLIST = (
    b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://%s\n#EXTINF:10,\n"
    b"http://%s/segment.ts\n#EXT-X-ENDLIST\n"
)
CONCAT = b"ffconcat version 1.0\nfile '%s'\nfile 'http://%s/next.mp3'\n"
PAGE = b"<!doctype html><html><body><script>alert(1)</script>Not found</body></html>"
EDITORS_WORKFLOW = {"last_node_id": 9, "nodes": [{"id": 1, "type": "SaveImage"}], "links": [], "version": 0.4}


def playlist(target: str, address: str) -> bytes:
    return PLAYLIST % (target.encode(), address.encode())


def concat_script(target: str, address: str) -> bytes:
    return CONCAT % (target.encode(), address.encode())


def image_bomb(side: int = 60_000) -> bytes:
    """A PNG of a few kilobytes whose header says that it is `side` pixels high and wide."""
    header = struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0)
    pixels = zlib.compress(bytes(1_000_000), 9)
    parts = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, body) for kind, body in parts)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def zip_bomb(unpacked_bytes: int = 300_000_000) -> bytes:
    """A zip of well under a megabyte: zeros, and a project beside them."""
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            archive.writestr("scene.blend", b"BLENDER")
            with archive.open("zeros.bin", "w", force_zip64=True) as entry:
                for _ in range(unpacked_bytes // 1_000_000):
                    entry.write(bytes(1_000_000))
        return file.getvalue()


def zip_of(name: str, content: bytes = b"climbed", mode: int = 0) -> bytes:
    """A zip of a project and an entry whose name is taken as it is; `mode` as in `stat`."""
    entry = zipfile.ZipInfo("x" * len(name))
    entry.filename = name
    entry.external_attr = mode << 16
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("scene.blend", b"BLENDER")
            archive.writestr(entry, content)
        return file.getvalue()


def zip_with_link(target: str) -> bytes:
    return zip_of("textures", target.encode(), stat.S_IFLNK | 0o777)
