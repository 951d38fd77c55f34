"""A program beside the emulator: should that end without a word, it ends what the emulator left running.

`python -S undertaker.py FOLDER PATH...` waits for its standard input to end; "done" on it means that nothing was left.
Modules are looked for on the paths.
"""

import shutil
import sys
from pathlib import Path

DONE = b"done"


def main() -> None:
    if sys.stdin.buffer.read() == DONE:
        return
    folder, *sys.path[:0] = sys.argv[1:]
    from salad.sweep import kill_marked  # noqa: PLC0415  Seldom needed, and slow to load.

    kill_marked(Path(folder))
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
