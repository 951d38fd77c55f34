"""SubRip and WebVTT from timed segments."""

from collections.abc import Iterable, Mapping
from typing import Any

Segments = Iterable[Mapping[str, Any]]


def srt(segments: Segments) -> str:
    """`segments` hold start and end in seconds, and text."""
    cues = (
        f"{number}\n{_clock(one['start'], ',')} --> {_clock(one['end'], ',')}\n{one['text']}\n"
        for number, one in enumerate(segments, 1)
    )
    return "\n".join(cues)


def vtt(segments: Segments) -> str:
    cues = (
        f"{_clock(one['start'], '.')} --> {_clock(one['end'], '.')}\n{_escaped(one['text'])}\n"
        for one in segments
    )
    return "\n".join(["WEBVTT\n", *cues])


def _clock(seconds: float, point: str) -> str:
    whole, thousandths = divmod(round(seconds * 1000), 1000)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours:02}:{minute:02}:{second:02}{point}{thousandths:03}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
