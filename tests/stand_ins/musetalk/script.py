"""MuseTalk's script as far as its callers see it: flags, stages, bars, places of files, and ends that say nothing."""

import argparse
import os
import pickle
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import torch
import yaml
from musetalk.utils.audio_processor import AudioProcessor
from musetalk.utils.blending import get_image
from musetalk.utils.face_parsing import FaceParsing
from musetalk.utils.preprocessing import coord_placeholder, get_landmark_and_bbox
from musetalk.utils.utils import datagen, get_file_type, get_video_fps, load_all_model
from stand_in import count, fails
from tqdm import tqdm
from transformers import WhisperModel

FLAGS = {
    "--ffmpeg_path": "./ffmpeg-4.4-amd64-static/",
    "--gpu_id": 0,
    "--vae_type": "sd-vae",
    "--unet_config": "./models/musetalk/config.json",
    "--unet_model_path": "./models/musetalkV15/unet.pth",
    "--whisper_dir": "./models/whisper",
    "--inference_config": "configs/inference/test_img.yaml",
    "--bbox_shift": 0,
    "--result_dir": "./results",
    "--extra_margin": 10,
    "--fps": 25,
    "--audio_padding_length_left": 2,
    "--audio_padding_length_right": 2,
    "--batch_size": 8,
    "--parsing_mode": "jaw",
    "--left_cheek_width": 90,
    "--right_cheek_width": 90,
}


def main(args):
    subprocess.run(["ffmpeg", "-version"], capture_output=True, check=True)
    device = torch.device("cpu")
    models = load_all_model(args.unet_model_path, args.vae_type, args.unet_config, device)
    whisper = WhisperModel.from_pretrained(args.whisper_dir).to(device=device).eval()
    parser = FaceParsing(args.left_cheek_width, args.right_cheek_width)
    tasks = yaml.safe_load(Path(args.inference_config).read_text())
    print("Loaded inference config:", tasks)
    for task in tasks.values():
        try:
            one_task(args, task, models, (whisper, parser))
        except Exception as error:  # noqa: BLE001  As it is there.
            print("Error occurred during processing:", error)


def one_task(args, task, models, ears_and_parser):
    (vae, unet, positions), (whisper, parser) = models, ears_and_parser
    video, audio = Path(task["video_path"]), Path(task["audio_path"])
    stem, voice = (path.name.split(".")[0] for path in (video, audio))
    folder = Path(args.result_dir, args.version)
    pictures, source = folder / f"{stem}_{voice}", folder / stem
    pictures.mkdir(parents=True, exist_ok=True)
    out = folder / (args.output_vid_name or f"{stem}_{voice}.mp4")
    if get_file_type(video) == "video":
        source.mkdir(exist_ok=True)
        paths, fps = pictures_of(video, source), get_video_fps(str(video))
    else:
        paths, fps = [str(video)], args.fps
    listener = AudioProcessor(feature_extractor_path=args.whisper_dir)
    features, length = listener.get_audio_feature(str(audio))
    pads = (args.audio_padding_length_left, args.audio_padding_length_right)
    chunks = listener.get_whisper_chunk(features, "cpu", unet.model.dtype, whisper, length, fps, *pads)
    print("Extracting landmarks... time-consuming operation")
    boxes, frames = get_landmark_and_bbox(paths, 0)
    saved_boxes = Path(args.result_dir, "..", stem + ".pkl")
    saved_boxes.write_bytes(pickle.dumps(boxes))
    print(f"Number of frames: {len(frames)}")
    latents = [
        latent_of(vae, *pair, args)
        for pair in zip(boxes, frames, strict=True)
        if pair[0] != coord_placeholder
    ]
    boxes, frames, latents = boxes + boxes[::-1], frames + frames[::-1], latents + latents[::-1]
    print("Starting inference")
    mouths, total = [], int(np.ceil(len(chunks) / args.batch_size))
    for sound, latent in tqdm(datagen(chunks, latents, args.batch_size, device="cpu"), total=total):
        guessed = unet.model(latent, torch.tensor([0]), encoder_hidden_states=positions(sound)).sample
        mouths += list(vae.decode_latents(guessed))
    pad(args, (boxes, frames, mouths), parser, pictures)
    film = f"{folder}/temp_{stem}_{voice}.mp4"
    print("Video generation command: (pictures)", film)
    join(pictures, fps, film)
    say_and_run("Audio combination command:", f"ffmpeg -y -v warning -i {audio} -i {film} {out}")
    shutil.rmtree(pictures)
    Path(film).unlink()
    shutil.rmtree(source)
    saved_boxes.unlink()
    end(out)


def end(out):
    """The film is there; what is said of it depends."""
    if fails("says-saved"):
        Path(out).unlink()
    if fails("saves-nothing"):
        Path(out).write_bytes(b"")
    if fails("saves-garbage"):
        Path(out).write_text("no film")
    if fails("saves-old"):
        os.utime(out, (1, 1))
    if fails("saves-elsewhere"):
        out = shutil.move(out, Path("elsewhere.mp4").absolute())
    count("job")
    if not fails("saves-silently"):
        print(f"Results saved to {out}")


def pad(args, parts, parser, pictures):
    boxes, frames, mouths = parts
    print("Padding generated images to original video size")
    for number, mouth in enumerate(tqdm(mouths)):
        box, frame = boxes[number % len(boxes)], frames[number % len(frames)]
        left, top, right, bottom = grown(box, frame, args)
        try:
            mouth = cv2.resize(mouth.astype(np.uint8), (right - left, bottom - top))  # noqa: PLW2901
        except Exception:  # noqa: BLE001  As it is there.
            continue
        blended = get_image(frame, mouth, [left, top, right, bottom], mode=args.parsing_mode, fp=parser)
        cv2.imwrite(f"{pictures}/{str(number).zfill(8)}.png", blended)


def pictures_of(video, folder):
    """By OpenCV, since not every ffmpeg that tests are run with can write PNG, as MuseTalk has it do."""
    film, paths = cv2.VideoCapture(str(video)), []
    while (read := film.read())[0]:
        paths.append(str(folder / f"{len(paths):08}.png"))
        cv2.imwrite(paths[-1], read[1])
    film.release()
    return paths


def join(pictures, fps, film):
    frames = [cv2.imread(str(path)) for path in sorted(pictures.glob("*.png"))]
    high, wide = frames[0].shape[:2]
    raw = ["-f", "rawvideo", "-pix_fmt", "bgr24", "-s", f"{wide}x{high}", "-r", str(fps), "-i", "-"]
    coded = ["-vcodec", "libx264", "-vf", "format=yuv420p", "-crf", "18", film]
    whole = b"".join(frame.tobytes() for frame in frames)
    subprocess.run(["ffmpeg", "-y", "-v", "warning", *raw, *coded], input=whole, check=False)


def say_and_run(what, command):
    print(what, command)
    os.system(command)


def grown(box, frame, args):
    left, top, right, bottom = box
    return left, top, right, min(bottom + args.extra_margin, frame.shape[0])


def latent_of(vae, box, frame, args):
    left, top, right, bottom = grown(box, frame, args)
    return vae.get_latents_for_unet(cv2.resize(frame[top:bottom, left:right], (256, 256)))


if __name__ == "__main__":
    asked = argparse.ArgumentParser()
    for flag, default in FLAGS.items():
        asked.add_argument(flag, type=type(default), default=default)
    for flag in ("--use_saved_coord", "--saved_coord", "--use_float16"):
        asked.add_argument(flag, action="store_true")
    asked.add_argument("--output_vid_name")
    asked.add_argument("--version", default="v15", choices=["v1", "v15"])
    main(asked.parse_args())
