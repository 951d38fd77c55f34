"""Faces are what has the colour of the test films' faces. Like MuseTalk's, the summary divides by their number."""

import time

import cv2
import numpy as np
from stand_in import count, fails, pause
from tqdm import tqdm

coord_placeholder = (0.0, 0.0, 0.0, 0.0)


def read_imgs(img_list):
    print("reading images...")
    return [cv2.imread(path) for path in tqdm(img_list)]


def get_landmark_and_bbox(img_list, upperbondrange=0):
    frames = read_imgs(img_list)
    print("get key_landmark and face bounding boxes with the default value")
    boxes, ranges = [], []
    for frame in tqdm(frames):
        count("landmarks")
        pause("landmark_s")
        if fails("hang"):
            time.sleep(3600)
        box = _skin(frame)
        boxes.append(coord_placeholder if box is None else box)
        if box is not None:
            ranges.append(box[3] - box[1])
    print("*" * 40 + "bbox_shift parameter adjustment" + "*" * 40)
    print(f"Total frame: {len(frames)} Manually adjust range : [ -{int(sum(ranges) / len(ranges))} ]")
    return boxes, frames


def _skin(frame):
    blue, green, red = (frame[..., at].astype(int) for at in range(3))
    rows, columns = np.nonzero((red > 150) & (red - blue > 60) & (green > 80))
    if len(rows) < 50:
        return None
    return int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max())
