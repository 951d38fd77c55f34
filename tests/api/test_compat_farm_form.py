"""A form that is read as it comes: cut anywhere, from any client, and never held."""

import pytest

from gpulease.contract.problems import ProblemError
from orchestrator.compat.farm.enqueue import plain_name
from orchestrator.compat.farm.form import HEADERS_MAX, Form

KIND = "multipart/form-data; boundary=--b"
CONTENT = bytes(range(256)) * 40 + b"\r\n----\r\n----a\r\n"
BODY = (
    b'----b\r\nContent-Disposition: form-data; name="request"\r\n\r\n{"a": 1}\r\n'
    b'----b\r\nContent-Disposition: form-data; name="file"; filename="a.blend"\r\n'
    b"Content-Type: application/x-blender\r\n\r\n" + CONTENT + b"\r\n----b--\r\n"
)


async def pieces(body, size):
    for at in range(0, len(body), size):
        yield body[at : at + size]


async def parts_of(body, size=65_536, kind=KIND):
    form, found = Form(pieces(body, size), kind), []
    while part := await form.next_part():
        found.append((part.name, part.filename, part.content_type, await form.read(10**6)))
    return found


@pytest.mark.parametrize("size", [1, 7, 64, 100_000])
async def test_parts_come_out_as_they_went_in_however_the_network_cuts_them(size):
    assert await parts_of(BODY, size) == [
        ("request", None, "application/octet-stream", b'{"a": 1}'),
        ("file", "a.blend", "application/x-blender", CONTENT),
    ]


async def test_what_is_not_asked_for_is_read_over():
    form = Form(pieces(BODY, 64), KIND)
    assert [(await form.next_part()).name, (await form.next_part()).name] == ["request", "file"]
    assert await form.next_part() is None


async def test_content_comes_in_pieces_no_larger_than_the_network_brought():
    form = Form(pieces(BODY, 512), KIND)
    await form.next_part()
    await form.next_part()
    got = [piece async for piece in form.content()]
    assert b"".join(got) == CONTENT
    assert max(map(len, got)) <= 512


@pytest.mark.parametrize("cut", [10, 90, 300, len(BODY) - 20, len(BODY) - 5])
async def test_a_form_that_ends_in_the_middle_is_refused(cut):
    with pytest.raises(ProblemError, match="Mend") as told:
        await parts_of(BODY[:cut])
    assert told.value.problem.status == 422


async def test_a_form_of_odd_headers_is_refused():
    many = b"".join(b"X-%d: a\r\n" % number for number in range(HEADERS_MAX + 1))
    long = b"X: " + b"a" * 10_000 + b"\r\n"
    for headers in (many, long, b"no colon\r\n"):
        with pytest.raises(ProblemError):
            await parts_of(b"----b\r\n" + headers + b"\r\ntext\r\n----b--\r\n")


@pytest.mark.parametrize(
    ("said", "filename"),
    [
        ("name=file; filename=scene.blend; filename*=utf-8''scene.blend", "scene.blend"),
        ('name="file"; filename="=?utf-8?B?U3rDtC5ibGVuZA==?="', "Szô.blend"),
        ('name="file"; filename="=?nonsense?B?U3r?="', "=?nonsense?B?U3r?="),
        ('name="file"; filename="Szene für.blend"', "Szene für.blend"),
        ('name="file"; filename=""', ""),
        ('name="file"', None),
    ],
)
async def test_names_are_read_as_clients_of_all_kinds_write_them(said, filename):
    head = f"----b\r\nContent-Disposition: form-data; {said}\r\n\r\n".encode()
    ((_, found, _, _),) = await parts_of(head + b"x\r\n----b--\r\n")
    assert found == filename


def test_a_name_is_the_last_part_of_a_path_and_can_be_shown():
    assert plain_name("a/b\\c.blend") == "c.blend"
    assert plain_name("a\x00\r\nb\u202e.blend") == "ab.blend"
    assert len(plain_name("n" * 5000 + ".blend")) == 200
    for nothing in ("", "..", "a/", ".", "\x00"):
        with pytest.raises(ProblemError):
            plain_name(nothing)
