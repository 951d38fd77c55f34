"""Which part of a face may change: the lower half of it."""

from pathlib import Path


class FaceParsing:
    def __init__(self, left_cheek_width=80, right_cheek_width=80):
        assert Path("models/face-parse-bisent/79999_iter.pth").is_file()
        self.widths = (left_cheek_width, right_cheek_width)

    def __call__(self, image, mode="raw"):
        assert mode in ("raw", "jaw", "neck")
        return image.shape[0] // 2
