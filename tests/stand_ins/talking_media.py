"""Films of a face on a blue wall, pictures of one, and sounds that come and go; and how wide a mouth is in a film."""

import contextlib
import functools
import http.server
import subprocess
import threading
import wave
from pathlib import Path

import cv2
import numpy as np

from worker_image.media.programs import ffmpeg

RATE_HZ = 16_000
WALL, SKIN = (200, 90, 40), (110, 140, 210)


def face_frame(number: int, size=(160, 120), *, blank=False) -> np.ndarray:
    """A frame in BGR; the face sways."""
    width, height = size
    frame = np.full((height, width, 3), WALL, np.uint8)
    if not blank:
        middle = (width // 2 + round(width / 16 * np.sin(number / 5)), height // 2)
        cv2.ellipse(frame, middle, (width // 5, height // 3), 0, 0, 360, SKIN, -1)
    return frame


def face_film(path: Path, seconds=2.0, fps="25", size=(160, 120), blanks=range(0)) -> Path:
    """Frames in `blanks` show no face."""
    shape = f"{size[0]}x{size[1]}"
    argv = [
        ffmpeg(),
        "-v",
        "error",
        "-y",
        "-f",
        "rawvideo",
        "-pix_fmt",
        "bgr24",
        "-s",
        shape,
        "-r",
        fps,
        "-i",
        "-",
    ]
    over, _, under = fps.partition("/")
    count = round(seconds * int(over) / int(under or 1))
    frames = b"".join(face_frame(n, size, blank=n in blanks).tobytes() for n in range(count))
    encoder = ["-c:v", "libx264", "-crf", "12", "-pix_fmt", "yuv444p", "-f", "mp4", str(path)]
    subprocess.run([*argv, *encoder], input=frames, check=True, timeout=60)
    return path


def face_picture(path: Path, size=(160, 120)) -> Path:
    cv2.imwrite(str(path), face_frame(0, size))
    return path


def loudness(seconds: float) -> np.ndarray:
    """The level of each 1/100 s: syllables that swell and fade, and a silence in the middle."""
    at = np.arange(round(seconds * 100)) / 100
    level = 0.4 * np.abs(np.sin(2 * np.pi * at * 0.9))
    return np.where((at > seconds * 0.45) & (at < seconds * 0.6), 0, level)


def speech(path: Path, seconds=2.0) -> Path:
    count = round(seconds * RATE_HZ)
    at = np.arange(count) / RATE_HZ
    level = np.interp(at, np.arange(len(loudness(seconds))) / 100, loudness(seconds))
    samples = (level * np.sin(2 * np.pi * 220 * at) * 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE_HZ, count, "NONE", "not compressed"))
        file.writeframes(samples.tobytes())
    return path


def mouths(path: Path) -> np.ndarray:
    """How many pixels of each frame of the film are as dark as the inside of a mouth."""
    film, found = cv2.VideoCapture(str(path)), []
    while True:
        there, frame = film.read()
        if not there:
            break
        found.append(int((frame.max(axis=2) < 70).sum()))
    film.release()
    return np.array(found)


def heard(seconds: float, at: np.ndarray) -> np.ndarray:
    """The level of such a sound at these times in seconds."""
    return np.interp(at, np.arange(len(loudness(seconds))) / 100, loudness(seconds))


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextlib.contextmanager
def served(folder: Path):
    """The folder's files over HTTP on loopback; gives the address before their names."""
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder))
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
