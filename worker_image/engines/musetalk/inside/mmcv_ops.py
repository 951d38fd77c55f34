"""mmcv without its compiled operators (mmcv-lite), as on GPUs for which its old release does not build.

mmdet and mmpose import the operators by name whether they use them or not. RTMPose and DWPose use none, so names that
refuse when they are called are enough.
"""

import importlib.machinery
import importlib.util
import sys
import types
from typing import Any

_EXTENSION = "mmcv._ext"


class _Absent(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def refuse(*_: Any, **__: Any) -> Any:
            raise RuntimeError(f"this mmcv was built without the operator {name}")

        return refuse


def stand_in_for_absent_operators() -> bool:
    """Whether a stand-in was needed. Call it before anything of mmdet or mmpose is imported."""
    if importlib.util.find_spec("mmcv") is None or importlib.util.find_spec(_EXTENSION) is not None:
        return False
    absent = _Absent(_EXTENSION)
    absent.__spec__ = importlib.machinery.ModuleSpec(_EXTENSION, None)
    sys.modules[_EXTENSION] = absent
    return True
