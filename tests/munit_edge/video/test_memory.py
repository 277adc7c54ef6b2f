"""A long video takes no more memory than a short one."""

import subprocess
import sys
from pathlib import Path

import clips

PROGRAM = """
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
import video_runs
from munit_edge.video import sinks
from munit_edge.system.limits import peak_memory_bytes

sinks.SEGMENT_FRAMES = 20  # else the short video is one segment, and nothing is opened again
video_runs.translate_clip(Path(sys.argv[2]), Path(sys.argv[3]))
print(peak_memory_bytes())
"""


def peak_mb(tmp_path: Path, num_frames: int) -> float:
    clip = clips.make_clip(tmp_path / f"{num_frames}.mp4", num_frames, size=(128, 128))
    out = tmp_path / f"out_{num_frames}.mp4"
    command = [sys.executable, "-c", PROGRAM, str(Path(clips.__file__).parent), str(clip), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert len(clips.shown(out)) == num_frames
    return int(done.stdout) / 1e6


def test_peak_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    # 250 more frames of 128 x 128 would be 12 MB as pixels, and again as results.
    assert peak_mb(tmp_path, 300) - peak_mb(tmp_path, 50) < 8
