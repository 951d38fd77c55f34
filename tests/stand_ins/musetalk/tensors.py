"""As much of torch as MuseTalk's callers touch, on NumPy."""

import contextlib

import numpy as np

float16, float32 = np.float16, np.float32


class Tensor(np.ndarray):
    def to(self, *places, dtype=None, device=None):
        return self if dtype is None else self.astype(dtype)


class no_grad(contextlib.ContextDecorator):  # noqa: N801  Its name there.
    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False


class OutOfMemoryError(RuntimeError):
    pass


class cuda:  # noqa: N801  A module there.
    OutOfMemoryError = OutOfMemoryError

    @staticmethod
    def is_available():
        return False


def device(name):
    return name


def tensor(values, device=None):
    return np.asarray(values).view(Tensor)


def stack(values):
    return np.stack(values).view(Tensor)


def cat(values, dim=0):
    return np.concatenate(values, axis=dim).view(Tensor)


class Module:
    """Something with weights."""

    dtype = float32

    def half(self):
        return self

    def to(self, *places, **kinds):
        return self

    def eval(self):
        return self

    def requires_grad_(self, wanted):
        return self
