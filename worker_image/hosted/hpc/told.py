"""Runs inside a Blender elsewhere, whose output nobody here can read: what the render script tells goes to a file.

The render script lies beside the parameters, and so does the file.
"""

import runpy
import sys
from pathlib import Path

folder = Path(sys.argv[sys.argv.index("--") + 1]).parent
sys.stdout = (folder / "told").open("w", buffering=1)
runpy.run_path(str(folder / "render.py"), run_name="__main__")
