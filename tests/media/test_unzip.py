"""Archives that climb, link, swell and lie; and that what we pack, we unpack."""

import os
import stat
import struct
import zipfile

import pytest

from worker_image.faults import InputFault
from worker_image.media.archive import Bounds, files_in, unzip, zip_files

FIELD = "file_url"
BOUNDS = Bounds()


def packed(path, entries, method=zipfile.ZIP_DEFLATED):
    """Writes a zip with the entries as given: names or whole ZipInfos, and contents."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for entry, content in entries:
            archive.writestr(entry, content)
    return path


def moded(name, mode):
    entry = zipfile.ZipInfo(name)
    entry.external_attr = mode << 16
    return entry


def refused(scratch, path, code, words, bounds=BOUNDS):
    with pytest.raises(InputFault) as caught:
        unzip(path, scratch / "out", FIELD, bounds)
    assert caught.value.code == code
    assert FIELD in caught.value.message
    assert words in caught.value.message
    assert not (scratch / "out").exists()
    assert [one.name for one in scratch.iterdir()] == ["a.zip"]


def test_what_is_packed_is_unpacked(scratch):
    made = scratch / "made"
    (made / "sub").mkdir(parents=True)
    (made / "a").write_text("one")
    (made / "sub" / "ü 'quoted' -b").write_text("two")
    zip_files(files_in(made), made, scratch / "a.zip")
    out = scratch / "out"
    assert unzip(scratch / "a.zip", out, FIELD) == [out / "a", out / "sub" / "ü 'quoted' -b"]
    assert (out / "a").read_text() == "one"
    assert not os.access(out / "a", os.X_OK)


def test_folders_and_empty_archives(scratch):
    path = packed(scratch / "a.zip", [("b/c/", ""), ("b/d", "x")])
    assert unzip(path, scratch / "out", FIELD) == [scratch / "out" / "b" / "d"]
    assert unzip(packed(scratch / "e.zip", []), scratch / "none", FIELD) == []


@pytest.mark.parametrize(
    "name",
    [
        *(
            "../outside.txt",
            "a/../../outside.txt",
            "/etc/passwd",
            "..",
            ".",
            "./a",
            "a//b",
            "a/./b",
            "//host/a",
        ),
        *("C:/a", "..\\a", "a\\..\\..\\b", "a\nb", "a\x1b[2J", "x" * 300, "/".join("a" * 40), "", "a/.."),
    ],
)
def test_a_name_that_leaves_the_folder_or_is_not_plain(scratch, name):
    path = packed(scratch / "a.zip", [("good", "x"), (zipfile.ZipInfo("placeholder"), "x")])
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("good", "x")
        entry = zipfile.ZipInfo("placeholder")
        entry.filename = entry.orig_filename = name
        archive.writestr(entry, "bad")
    refused(scratch, path, "archive_unsafe", "has an entry")


def test_a_name_that_ends_early(scratch):
    """A zero byte ends the name for some readers, and not for others."""
    path = packed(scratch / "a.zip", [("good.txtXXX", "x")])
    path.write_bytes(path.read_bytes().replace(b"good.txtXXX", b"good\0/../x."))
    refused(scratch, path, "archive_unsafe", "has an entry")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
def test_links_and_devices(scratch, kind):
    path = packed(scratch / "a.zip", [(moded("to", kind | 0o777), "/etc/passwd"), ("to/x", "x")])
    refused(scratch, path, "archive_unsafe", "link or a device")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("names", [("a", "a"), ("A/b", "a/B"), ("d/", "D")])
def test_names_that_are_there_twice(scratch, names):
    path = packed(scratch / "a.zip", [(name, "" if name.endswith("/") else "x") for name in names])
    refused(scratch, path, "archive_unsafe", "twice")


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "a")])
def test_a_file_with_another_below_it(scratch, names):
    path = packed(scratch / "a.zip", [(name, "x") for name in names])
    refused(scratch, path, "archive_unsafe", "as if it were a folder")


def test_a_bomb_is_known_by_what_it_says(scratch):
    path = packed(scratch / "a.zip", [(str(number), bytes(20 * 1024**2)) for number in range(3)])
    refused(scratch, path, "archive_too_big", "as only bombs do")
    refused(scratch, path, "archive_too_big", "are allowed", Bounds(bytes=10 * 1024**2, ratio=1e9))


def test_a_bomb_that_says_it_is_small_is_known_by_what_comes_out(scratch):
    path = packed(scratch / "a.zip", [("a", bytes(20 * 1024**2))])
    whole = path.read_bytes()
    lie = whole.replace(struct.pack("<I", 20 * 1024**2), struct.pack("<I", 1000))
    assert lie != whole
    path.write_bytes(lie)
    with pytest.raises(InputFault) as caught:
        unzip(path, scratch / "out", FIELD)
    assert caught.value.code in ("archive_too_big", "archive_broken")
    assert not (scratch / "out").exists()


def test_too_many_entries(scratch):
    path = packed(scratch / "a.zip", [(str(number), "") for number in range(20)])
    refused(scratch, path, "archive_too_big", "20 entries", Bounds(entries=19))


def test_an_entry_that_is_encrypted_or_packed_in_an_unbounded_way(scratch):
    path = packed(scratch / "a.zip", [("a", "x")])
    whole = bytearray(path.read_bytes())
    whole[6] |= 1
    whole[whole.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(whole)
    refused(scratch, path, "archive_unsafe", "encrypted")
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        refused(scratch, packed(path, [("a", "x")], method), "archive_unsafe", "neither stored nor deflated")


def test_what_is_no_zip_or_a_damaged_one(scratch):
    path = scratch / "a.zip"
    path.write_bytes(b"words")
    refused(scratch, path, "archive_broken", "not a zip file")
    whole = packed(path, [("a", os.urandom(5000)), ("b", "x" * 5000)]).read_bytes()
    path.write_bytes(whole[:-30])
    refused(scratch, path, "archive_broken", "not a zip file")
    path.write_bytes(whole[:500] + b"\xff" * 50 + whole[550:])
    refused(scratch, path, "archive_broken", "CRC")


def test_a_folder_that_is_there_is_left_alone(scratch):
    (scratch / "out").mkdir()
    (scratch / "out" / "mine").write_text("x")
    with pytest.raises(FileExistsError):
        unzip(packed(scratch / "a.zip", [("a", "x")]), scratch / "out", FIELD)
    assert (scratch / "out" / "mine").exists()
