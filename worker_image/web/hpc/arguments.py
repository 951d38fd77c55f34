"""From a farm's line of arguments to the vector that is run: split without a shell, the executable ours.

Of Blender's options only those that choose what is rendered are taken. Python is not, but for one script: our own, by
which agents of ours drive such machines. It is known by its bytes, and then our own copy runs. After each file that is
opened, another script of ours switches off what the file could do beside.
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path, PurePath

from worker_image.engines.blender.plan import OPTIONS, SAFETY, SCRIPT
from worker_image.web.hpc.engines import Engine, Farm

LETTERS_MAX = 32_000
INVALID = "Invalid render arguments!"
_FLAGS = frozenset(OPTIONS) | {"--background", "-a", "--render-anim", "-Y"}
_NUMBERS, _WORD, _NAME = r"[+-]?\d[\d.,+-]*", r"\w+", r"(?!-)(?!.*\.blend\d*$).+"
_VALUED = {
    name: re.compile(pattern, re.ASCII | re.IGNORECASE)
    for pattern, names in (
        (_NUMBERS, "-f --render-frame -s --frame-start -e --frame-end -j --frame-jump -t --threads"),
        (_WORD, "-E --engine -F --render-format -x --use-extension"),
        (_NAME, "-S --scene -o --render-output -P --python"),
    )
    for name in names.split()
}
"""Options with a value, and what it may look like: never like an option or a file, since a Blender that does not want
the value takes it for one."""
_OUTPUT = frozenset({"-o", "--render-output"})
_PYTHON = frozenset({"-P", "--python"})
_BLEND = re.compile(r"\.blend\d*$", re.IGNORECASE)
_IN_PROJECT = "//"


class Refused(Exception):
    """Answered with 400."""


def vector(farm: Farm, engine: Engine, arguments: str) -> list[str]:
    """What is run. Raises: Refused."""
    executable = engine.found()
    if executable is None:
        raise Refused(f"The program of rendering engine {engine.id} is not installed here!")
    words = _words(engine, arguments)
    if engine.is_blender:
        return [executable, *OPTIONS, *_blender(farm, iter(words))]
    for word in words:
        _check_word(farm, word)
    return [executable, *words]


def _words(engine: Engine, arguments: str) -> list[str]:
    """A first word that only names the program again is left out."""
    if len(arguments) > LETTERS_MAX or "\0" in arguments:
        raise Refused(INVALID)
    try:
        words = shlex.split(arguments)
    except ValueError as error:
        raise Refused(f"{INVALID} {error}") from error
    names = {engine.id.lower(), engine.executable.lower(), PurePath(engine.executable).name.lower()}
    return words[1:] if words and words[0].lower() in names else words


def _blender(farm: Farm, words: Iterator[str]) -> Iterator[str]:
    for word in words:
        if word == "--":
            rest = list(words)
            for one in rest:
                _check_word(farm, one)
            yield from (word, *rest)
        elif word in _FLAGS:
            yield word
        elif word in _OUTPUT:
            yield from (word, _output(farm, _value(word, words)))
        elif word in _PYTHON:
            yield from ("--python", _own_script(_value(word, words)))
        elif word in _VALUED:
            yield from (word, _value(word, words))
        elif word.startswith("-"):
            raise Refused(f"{INVALID} This machine takes no option {word}.")
        else:
            yield from (_file(farm, word), "--python", str(SAFETY))


def _value(option: str, words: Iterator[str]) -> str:
    value = next(words, "")
    if not _VALUED[option].fullmatch(value):
        raise Refused(f"{INVALID} {value!r} is no value of {option}.")
    return value


def _output(farm: Farm, path: str) -> str:
    if path.startswith(_IN_PROJECT) and ".." not in PurePath(path).parts:
        return path
    return _allowed(farm, path)


def _own_script(path: str) -> str:
    try:
        is_ours = Path(path).read_bytes() == SCRIPT.read_bytes()
    except OSError:
        is_ours = False
    if not is_ours:
        raise Refused(
            f"{INVALID} This machine runs no Python but its own render script, of the same version."
        )
    return str(SCRIPT)


def _file(farm: Farm, path: str) -> str:
    if not _BLEND.search(path) or not Path(path).is_file():
        raise Refused(f"{INVALID} There is no .blend file {path}.")
    return _allowed(farm, path)


def _check_word(farm: Farm, word: str) -> None:
    """A word of another program: the path in it, wherever it begins, must be allowed."""
    if farm.folders and ("/" in word or ".." in word):
        _allowed(farm, word[word.index("/") :] if "/" in word and word.startswith("-") else word)


def _allowed(farm: Farm, path: str) -> str:
    if not farm.folders:
        return path
    whole = Path(path)
    inside = any(whole.resolve().is_relative_to(folder) for folder in farm.folders)
    if not whole.is_absolute() or ".." in whole.parts or not inside:
        raise Refused(f"{INVALID} {path} lies in none of the allowed folders.")
    return path
