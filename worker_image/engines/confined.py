"""Programs that may write below given folders only, by the kernel's word (Landlock): what opens strangers' files.

Linux 5.13 and later; elsewhere a program runs as it is, and `confines()` says so. Run as a script it confines itself
and becomes the program, so it imports nothing of ours.
"""

import ctypes
import os
import struct
import sys
from collections.abc import Sequence
from functools import cache

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_PR_SET_NO_NEW_PRIVS = 38
_WRITE_FILE, _TRUNCATE, _REFER = 1 << 1, 1 << 14, 1 << 13
_MAKE_AND_REMOVE = sum(1 << bit for bit in range(4, 13))
_MAKE_REMOVE_FILES = 1 << 5 | 1 << 8
_DEVICES = "/dev"
_END = "--"


def confined(argv: Sequence[str], folders: Sequence[str]) -> list[str]:
    """The same program, writing below `folders` and to devices only; those folders exist."""
    if not confines():
        return list(argv)
    return [sys.executable, "-I", "-S", __file__, *folders, _END, *argv]


@cache
def confines() -> bool:
    """Whether this machine can."""
    return sys.platform == "linux" and _abi() > 0


def _abi() -> int:
    """The version of the kernel's Landlock; below 1 it has none."""
    return _call(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1))


def _call(number: int, *arguments: object) -> int:
    found: int = ctypes.CDLL(None, use_errno=True).syscall(ctypes.c_long(number), *arguments)
    return found


def _confine(folders: Sequence[str]) -> None:
    """Raises: OSError."""
    abi = _abi()
    everything = _WRITE_FILE | _MAKE_AND_REMOVE | (_REFER if abi >= 2 else 0) | (_TRUNCATE if abi >= 3 else 0)
    handled = struct.pack("=Q", everything)
    rules = _checked(_call(_CREATE_RULESET, handled, ctypes.c_size_t(len(handled)), ctypes.c_uint32(0)))
    for folder in folders:
        _allow(rules, folder, everything)
    _allow(rules, _DEVICES, everything & (_WRITE_FILE | _TRUNCATE | _MAKE_REMOVE_FILES))
    _checked(ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _checked(_call(_RESTRICT_SELF, ctypes.c_int(rules), ctypes.c_uint32(0)))
    os.close(rules)


def _allow(rules: int, folder: str, access: int) -> None:
    beneath = os.open(folder, os.O_PATH | os.O_CLOEXEC)
    rule = struct.pack("=Qi", access, beneath)
    _checked(_call(_ADD_RULE, ctypes.c_int(rules), ctypes.c_int(1), rule, ctypes.c_uint32(0)))
    os.close(beneath)


def _checked(answer: int) -> int:
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return answer


if __name__ == "__main__":
    end = sys.argv.index(_END)
    _confine(sys.argv[1:end])
    os.execv(sys.argv[end + 1], sys.argv[end + 1 :])  # noqa: S606  There is no shell, and we want none.
