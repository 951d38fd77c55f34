"""`$RENDERONLINE:name` in a line of arguments. What it becomes is shown to clients, and is never run."""

import re
from collections.abc import Mapping

PREFIX = "$RENDERONLINE:"
UPLOADED_FILE = "@uploaded_file"
OUTPUT_DIR = "@output_dir"
OURS = frozenset({UPLOADED_FILE, OUTPUT_DIR})
"""What we know ourselves: the client's file, and the folder of results."""
_PLACEHOLDER = re.compile(r"\$RENDERONLINE:(@?[A-Za-z_][A-Za-z0-9_]*)")


def names_in(template: str) -> frozenset[str]:
    return frozenset(_PLACEHOLDER.findall(template))


def expand(template: str, values: Mapping[str, str], file_name: str) -> str:
    """The line with the values in it. They are not looked through for placeholders again.

    Raises:
        KeyError: a name of the template is not among the values.
    """
    known = {**values, UPLOADED_FILE: file_name, OUTPUT_DIR: "output"}
    return _PLACEHOLDER.sub(lambda found: known[found[1]], template)
