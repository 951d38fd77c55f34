"""What results are called, and the folder where they are kept: nothing leaves it, and nothing in it is half there."""

import os
import stat
from pathlib import Path

import pytest

from worker_image.deliver.delivery import Delivery
from worker_image.deliver.destination import Facts
from worker_image.deliver.names import result_names
from worker_image.engines.base import MadeFile, Outcome
from worker_image.faults import HostFault

FACTS = Facts("j-1", "whisper", None, "faster-whisper", {})


@pytest.mark.parametrize(
    ("made", "names"),
    [
        (["out.mp4"], ["j.mp4"]),
        (["speech.mp3"], ["j.mp3"]),
        (["transcript.txt", "transcript.srt", "transcript.json"], ["j.txt", "j.srt", "j.json"]),
        (["a.png", "b.png"], ["j.png", "j_b.png"]),
        (["a.png", "b.png", "b.png"], ["j.png", "j_b.png", "2_j_b.png"]),
        (["plain"], ["j"]),
        (["x.tar.GZ"], ["j.gz"]),
        (["x.😀", "../../x.mp4", "-rf.mp4"], ["j", "j.mp4", "j_-rf.mp4"]),
        (["a.mp4", "a b'\n/c.mp4"], ["j.mp4", "j_a_b_c.mp4"]),
        ([], []),
    ],
)
def test_names(made: list[str], names: list[str]):
    assert list(result_names("j", made)) == names


def outcome(folder: Path, text: str | None = None, **files: bytes) -> Outcome:
    made = []
    for name, content in files.items():
        path = folder / name
        path.write_bytes(content)
        made.append(MadeFile(f"{name}.srt", str(path), "text/plain"))
    return Outcome(text=text, files=tuple(made))


async def test_results_and_texts_are_kept(tmp_path: Path):
    kept = tmp_path / "deep" / "output"
    await Delivery(output_dir=kept).deliver(outcome(tmp_path, "said", subtitles=b"1"), FACTS)
    await Delivery(output_dir=kept).deliver(outcome(tmp_path, "said again", subtitles=b"2"), FACTS)
    assert {path.name: path.read_text() for path in kept.iterdir()} == {
        "j-1.srt": "2",
        "j-1.txt": "said again",
    }


async def test_a_link_in_the_folder_leads_nowhere(tmp_path: Path):
    kept, treasure = tmp_path / "output", tmp_path / "treasure"
    kept.mkdir()
    treasure.write_text("gold")
    (kept / "j-1.srt").symlink_to(treasure)
    await Delivery(output_dir=kept).deliver(outcome(tmp_path, subtitles=b"1"), FACTS)
    assert (treasure.read_text(), (kept / "j-1.srt").read_text()) == ("gold", "1")
    assert stat.S_ISREG(os.lstat(kept / "j-1.srt").st_mode)


async def test_a_folder_that_cannot_be_written_is_the_hosts_fault(tmp_path: Path):
    (tmp_path / "output").write_text("a file")
    with pytest.raises(HostFault, match="OUTPUT_DIR"):
        await Delivery(output_dir=tmp_path / "output").deliver(outcome(tmp_path, subtitles=b"1"), FACTS)
