"""What went wrong inside MuseTalk, from its own words: it ends with exit code 0 on most errors."""

import re
from collections.abc import Callable

from gpulease.contract.engines import MusetalkParams
from worker_image.faults import Faulted, HostFault, InputFault, gpu_fault

_WORDS_MAX = 1500


def no_face(_: str = "") -> InputFault:
    return InputFault("no_face", "video_url shows no face that MuseTalk finds")


def sound_unusable(words: str) -> InputFault:
    """The one place where MuseTalk calls `exit()`."""
    return InputFault(
        "sound_unusable", f"MuseTalk could not share out the sound to frames.\n{words}".rstrip()
    )


def _host(code: str, what: str) -> Callable[[str], Faulted]:
    return lambda words: HostFault(code, f"{what}.\n{words}")


_FAULTS: tuple[tuple[re.Pattern[str], Callable[[str], Faulted]], ...] = (
    (
        re.compile(r"No space left on device|Disk quota exceeded"),
        _host("disk_full", "The worker's disk is full"),
    ),
    (
        re.compile(
            r"(?:No such file or directory|does not exist|can't be opened|no file named|can't load)[^\n]*\bmodels/"
            r"|\bmodels/[^\n]*(?:can not be found|not found|does not appear to have a file)",
            re.IGNORECASE,
        ),
        _host("weights_missing", "MuseTalk misses weights; run its download_weights.sh"),
    ),
    (re.compile(r"division by zero|modulo by zero"), no_face),
    (re.compile(r"whisper_feature\.shape"), sound_unusable),
)


def blame(words: str) -> Faulted | None:
    """Whose fault the words tell of, where they are known. Memory and CUDA faults leave the process unusable."""
    shown = words.strip()[-_WORDS_MAX:]
    if found := gpu_fault(shown):
        return found
    make = next((make for pattern, make in _FAULTS if pattern.search(words)), None)
    return make(shown) if make else None


def ignored_by_v15(params: MusetalkParams) -> tuple[str, ...]:
    """What was set and means something to v1 only."""
    return ("params.bbox_shift",) if params.bbox_shift is not None else ()
