"""`python -m worker_image.machine.cuda_try`: takes a little of the GPU's memory and gives it back, without PyTorch.

A driver may answer and yet refuse to compute. Status 0: it works; 1: it does not, and the reason is on stdout.
"""

import ctypes
import sys

LIBRARY = "libcuda.so.1"
_BYTES = 16 * 1024**2


def try_cuda() -> str | None:
    """Why CUDA does not work here, or None."""
    try:
        cuda = ctypes.CDLL(LIBRARY)
    except OSError as error:
        return f"CUDA's library cannot be loaded: {error}"
    device, context, place = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_uint64()
    steps = (
        ("cuInit", (0,)),
        ("cuDeviceGet", (ctypes.byref(device), 0)),
        ("cuDevicePrimaryCtxRetain", (ctypes.byref(context), device)),
        ("cuCtxSetCurrent", (context,)),
        ("cuMemAlloc_v2", (ctypes.byref(place), ctypes.c_size_t(_BYTES))),
        ("cuMemsetD8_v2", (place, ctypes.c_ubyte(1), ctypes.c_size_t(_BYTES))),
        ("cuCtxSynchronize", ()),
        ("cuMemFree_v2", (place,)),
    )
    for name, arguments in steps:
        code = getattr(cuda, name)(*arguments)
        if code:
            return f"CUDA fails at {name}: {_named(cuda, code)}"
    return None


def _named(cuda: ctypes.CDLL, code: int) -> str:
    text = ctypes.c_char_p()
    told = cuda.cuGetErrorName(code, ctypes.byref(text)) == 0 and text.value
    return f"{told.decode()} ({code})" if told else f"error {code}"


def main() -> int:
    reason = try_cuda()
    sys.stdout.write(reason or "ok")
    return 1 if reason else 0


if __name__ == "__main__":
    sys.exit(main())
