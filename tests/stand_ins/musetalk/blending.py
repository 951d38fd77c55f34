"""The new face into the old frame."""

from stand_in import fails


def get_image(  # noqa: PLR0917  As it is there.
    image, face, face_box, upper_boundary_ratio=0.5, expand=1.5, mode="raw", fp=None
):
    if fails("crash"):
        raise ValueError("the stand-in was told to fail")
    left, top, right, bottom = face_box
    half = fp(face, mode=mode)
    frame = image.copy()
    frame[top + half : bottom, left:right] = face[half:]
    return frame
