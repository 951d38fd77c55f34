"""A media library that never comes back from encoding, and has started programs of its own."""

from hibari import act


def open(*_arguments, **_more):  # noqa: A001  The real one's name.
    act("stuck")
