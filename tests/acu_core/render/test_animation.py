from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from acu_core.errors import UserError
from acu_core.render import animation, picture_file
from acu_core.render.animation import default_output, load_recordings, render_animation
from acu_core.render.animation_file import ANIMATIONS, STILLS, VIDEOS
from acu_core.render.colours import LIGHT, THEMES, Theme
from acu_core.render.layout import plan_layout
from acu_core.render.picture import Picture
from acu_core.render.shape_figure import visible_reach
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.snapshot_header import LayerEntry
from acu_core.runs.snapshot_writer import SnapshotWriter

MakeRecording = Callable[..., Path]


def rgb(colour: tuple[float, float, float]) -> tuple[int, ...]:
    return tuple(round(255 * c) for c in colour)


def count(image: Image.Image, colour: tuple[float, float, float], tolerance: int = 6) -> int:
    pixels = np.asarray(image.convert("RGB")).astype(int)
    return int(np.count_nonzero(np.abs(pixels - rgb(colour)).max(axis=-1) <= tolerance))


def test_a_gif_has_the_frames_and_times_that_were_asked_for(make_recording: MakeRecording, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    output = tmp_path / "new" / "shapes.gif"
    report = render_animation(
        make_recording(2),
        output,
        frames=12,
        fps=25,
        width=480,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls == [(n, 12) for n in range(1, 13)]
    assert (report.path, report.frames, report.fps, report.width) == (output, 12, 25.0, 480)
    assert report.bytes == output.stat().st_size
    with Image.open(output) as image:
        assert (image.n_frames, image.size) == (12, (report.width, report.height))
        assert image.info["loop"] == 0
        durations = []
        for frame in range(12):
            image.seek(frame)
            durations.append(image.info["duration"])
    assert durations[1:-1] == [40] * 10
    assert durations[0] > 40
    assert durations[-1] > 1000


def test_decoded_frames_are_the_drawn_ones(
    make_recording: MakeRecording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[np.ndarray] = []
    encode = picture_file.encode_animation

    def spy(suffix: str, picture: Picture, *rest: object) -> bytes:
        drawn.extend(picture.pixels(frame) for frame in range(picture.frames))
        return encode(suffix, picture, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(picture_file, "encode_animation", spy)
    render_animation(make_recording(2, groups=2), tmp_path / "a.gif", frames=8, width=480)
    assert len(drawn) == 8
    with Image.open(tmp_path / "a.gif") as image:
        for frame, pixels in enumerate(drawn):
            image.seek(frame)
            shown = np.asarray(image.convert("RGB")).astype(int)
            away = np.abs(shown - pixels).max(axis=-1)
            assert np.mean(away <= 24) > 0.998
            # Nothing that has moved on leaves a smudge on the resting colours.
            for colour in (LIGHT.panel, LIGHT.paper):
                resting = np.all(pixels == rgb(colour), axis=-1)
                assert np.all(away[resting] == 0)


def test_synapses_stand_where_the_last_snapshot_says(tmp_path: Path) -> None:
    names = ["conv1", "conv2"]
    last = np.random.default_rng(0).uniform(-2, 2, size=(2, 1, 9, 2)).astype(np.float32)
    with SnapshotWriter.create(tmp_path / "p.bin", [LayerEntry(name, 1, 9) for name in names]) as writer:
        for step in range(31):
            writer.append(step, list(last * step / 30), [np.ones((1, 9))] * 2)
    render_animation(tmp_path / "p.bin", tmp_path / "a.gif", frames=10)
    with Image.open(tmp_path / "a.gif") as image:
        image.seek(9)
        pixels = np.asarray(image.convert("RGB")).astype(int)
    recordings = load_recordings([tmp_path / "p.bin"])
    layout = plan_layout([2])
    reach = visible_reach(recordings, layout.panel)
    # From the size alone: inches at 100 pixels, y from below.
    for cell, positions in enumerate(last[:, 0]):
        left, bottom, side, _ = (100 * inches for inches in layout.place(cell, 0))
        for y, x in positions:
            column = left + (x / reach + 1) / 2 * side
            row = pixels.shape[0] - (bottom + (1 - y / reach) / 2 * side)
            dot = pixels[round(row - 1.5) : round(row + 1.5), round(column - 1.5) : round(column + 1.5)]
            # Dots may hide each other in part, but the seed was seen to leave every middle free.
            assert np.all(np.abs(dot - rgb(LIGHT.group(0))).max(axis=-1) <= 6), (cell, y, x)


def test_y_points_down_and_trails_begin_at_the_start(tmp_path: Path) -> None:
    with SnapshotWriter.create(tmp_path / "p.bin", [LayerEntry("a", 1, 2)]) as writer:
        for step in range(11):
            writer.append(step, [[[[0, 0], [1 + step / 10, 0]]]], [[[1, 1]]])
    render_animation(tmp_path / "p.bin", tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    # Without the legend and the time line.
    panel = pixels[100:-100]
    accent = np.abs(panel - rgb(LIGHT.group(0))).max(axis=-1) <= 6
    centre = np.all(panel == rgb(LIGHT.ink), axis=-1)
    assert np.nonzero(accent)[0].mean() > np.nonzero(centre)[0].mean() + 20


def test_groups_and_the_hidden_shape_have_their_colours(make_recording: MakeRecording, tmp_path: Path) -> None:
    hidden = (3 * np.random.default_rng(0).normal(size=(1, 9, 2))).clip(-3, 3).tolist()
    for groups in (1, 3):
        path = make_recording(1, groups=groups, hidden=hidden, name=f"{groups}.bin")
        for suffix in ("png", "gif"):
            output = tmp_path / f"{groups}.{suffix}"
            render_animation(path, output, frames=None if suffix == "png" else 4)
            with Image.open(output) as image:
                image.seek(getattr(image, "n_frames", 1) - 1)
                assert count(image, LIGHT.hidden) > 200
                for group in range(3):
                    assert (count(image, LIGHT.group(group)) > 100) == (group < groups)
    render_animation(make_recording(1, name="plain.bin"), tmp_path / "plain.png")
    with Image.open(tmp_path / "plain.png") as image:
        assert count(image, LIGHT.hidden) == 0


def test_the_warm_up_is_marked(make_recording: MakeRecording, tmp_path: Path) -> None:
    path = make_recording(1, iterations=100, warm_up=50)
    for last, marked in ((100, True), (20, True)):
        render_animation(path, tmp_path / "a.png", last=last)
        with Image.open(tmp_path / "a.png") as image:
            assert (count(image, LIGHT.warm_up) > 500) == marked
    render_animation(path, tmp_path / "a.png", first=50)
    with Image.open(tmp_path / "a.png") as image:
        assert count(image, LIGHT.warm_up) == 0


def test_the_number_of_frames_shrinks_until_the_file_is_small(
    make_recording: MakeRecording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_recording(1, drift=2.0)
    monkeypatch.setattr(animation, "_BYTES_PER_LINE_PIXEL", {".gif": 1e-3})
    whole = render_animation(path, tmp_path / "a.gif", width=480)
    # How small a picture becomes is the business of fonts and of matplotlib's version.
    largest = 6 * whole.bytes // 10
    monkeypatch.setattr(picture_file, "LARGEST_BYTES", largest)
    totals: set[int] = set()
    report = render_animation(path, tmp_path / "a.gif", width=480, progress=lambda done, total: totals.add(total))
    assert max(totals) == whole.frames
    assert report.frames == min(totals) < whole.frames
    assert report.bytes <= largest


@pytest.mark.parametrize(
    ("suffix", "frames"),
    [*((suffix, 20) for suffix in ANIMATIONS), *((suffix, None) for suffix in STILLS)],
)
def test_every_format_is_written_alike_twice(
    make_recording: MakeRecording, tmp_path: Path, suffix: str, frames: int | None
) -> None:
    if suffix in VIDEOS:
        pytest.importorskip("imageio_ffmpeg", reason="the extra active-convolution[video] is not installed")
    path = make_recording(2)
    outputs = [tmp_path / f"{n}{suffix}" for n in "ab"]
    reports = [render_animation(path, output, frames=frames, width=480) for output in outputs]
    assert outputs[0].stat().st_size > 1000
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    assert reports[0].frames == (frames or 1)


def test_one_snapshot_and_one_layer_with_one_synapse_are_enough(tmp_path: Path) -> None:
    with SnapshotWriter.create(tmp_path / "p.bin", [LayerEntry("a" * 200, 1, 1)]) as writer:
        writer.append(3, [np.zeros((1, 1, 2))], [np.zeros((1, 1))])
    for name in ("a.gif", "a.png"):
        assert render_animation(tmp_path / "p.bin", tmp_path / name).frames == 1


def test_options_that_cannot_be_met_leave_the_old_file(make_recording: MakeRecording, tmp_path: Path) -> None:
    path = make_recording(1)
    output = tmp_path / "old.gif"
    output.write_bytes(b"old")
    for options in (
        {"frames": 0},
        {"fps": 0.0},
        {"fps": float("nan")},
        {"width": 10},
        {"layers": ["none"]},
        {"first": 1000},
    ):
        with pytest.raises(UserError):
            render_animation(path, output, **options)
    assert output.read_bytes() == b"old"
    for name in ("a.jpg", "a", "a.gif.txt"):
        with pytest.raises(UserError, match=r"must end with one of \.gif"):
            render_animation(path, tmp_path / name)
    (tmp_path / "folder.gif").mkdir()
    with pytest.raises(UserError, match="is a directory"):
        render_animation(path, tmp_path / "folder.gif")
    with pytest.raises(UserError, match="cannot be written"):
        render_animation(path, output / "below.gif", frames=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder.gif", "old.gif", "positions.bin"]


def test_a_video_without_its_package_is_one_clear_sentence(
    make_recording: MakeRecording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(UserError, match=r"active-convolution\[video\]"):
        render_animation(make_recording(1), tmp_path / "a.mp4")


def test_a_video_rests_on_its_last_frame(make_recording: MakeRecording, tmp_path: Path) -> None:
    ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="the extra active-convolution[video] is not installed")
    report = render_animation(make_recording(1), tmp_path / "a.mp4", frames=10, fps=10, width=461)
    frames, seconds = ffmpeg.count_frames_and_secs(str(report.path))
    assert report.frames == 10
    assert frames == 6 + 8 + 18
    assert seconds == pytest.approx(3.2, abs=0.15)


def test_the_global_state_of_matplotlib_is_left_alone(make_recording: MakeRecording, tmp_path: Path) -> None:
    import matplotlib

    # A plain dict() would ask for the backend, and so import pyplot itself.
    before = matplotlib.rcParams.copy()
    render_animation(make_recording(1), tmp_path / "a.svg")
    assert matplotlib.rcParams.copy() == before
    assert "matplotlib.pyplot" not in sys.modules


def test_the_default_output_is_in_the_run(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", "", {})
    assert default_output(run.path) == run.figures / "shapes.gif"
    (tmp_path / "positions.bin").touch()
    assert default_output(tmp_path / "positions.bin") == tmp_path / "positions.gif"
    with pytest.raises(UserError, match="there is no run"):
        default_output(tmp_path / "none")


def test_runs_are_drawn_side_by_side(make_recording: MakeRecording, tmp_path: Path) -> None:
    one, other = make_recording(2, name="one.bin"), make_recording(3, iterations=100, name="other.bin")
    report = render_animation([one, other], tmp_path / "a.gif", frames=6)
    with Image.open(tmp_path / "a.gif") as image:
        image.seek(5)
        # Each run has a colour of its own, and so have its dots.
        assert count(image, LIGHT.group(0)) > 200
        assert count(image, LIGHT.group(1)) > 200
    assert report.frames == 6
    same = render_animation([one, one], tmp_path / "same.gif", frames=6)
    assert same.width == report.width == 800


def test_what_cannot_be_compared_is_said(make_recording: MakeRecording, tmp_path: Path) -> None:
    one = make_recording(2, name="one.bin")
    with SnapshotWriter.create(tmp_path / "far.bin", [LayerEntry("elsewhere", 1, 1)]) as writer:
        writer.append(0, [np.zeros((1, 1, 2))], [np.ones((1, 1))])
    for sources, message in (
        ([one] * 5, "1 to 4 runs are drawn beside each other, got 5"),
        ([], "1 to 4 runs are drawn beside each other, got 0"),
        ([one, tmp_path / "far.bin"], "no layer in common: one has conv0, conv1, far has elsewhere"),
    ):
        with pytest.raises(UserError, match=message):
            render_animation(sources, tmp_path / "a.gif")
    assert not (tmp_path / "a.gif").exists()


def test_a_pattern_need_match_a_layer_of_one_run_only(make_recording: MakeRecording, tmp_path: Path) -> None:
    one, other = make_recording(2, name="one.bin"), make_recording(4, name="other.bin")
    chosen = load_recordings([one, other], layers=["conv1", "conv3"])
    assert [list(recording.positions) for recording in chosen] == [["conv1"], ["conv1", "conv3"]]
    assert [list(recording.weight_norms) for recording in chosen] == [["conv1"], ["conv1", "conv3"]]
    with pytest.raises(UserError, match="no layer is called 'conv9': the runs have conv0, conv1, conv2, conv3"):
        load_recordings([one, other], layers=["conv9"])
    with pytest.raises(UserError, match="no layer was chosen"):
        load_recordings([one, other], layers=[])
    with pytest.raises(UserError, match="one has none of the layers conv3"):
        load_recordings([one, other], layers=["conv3"])


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_a_theme_colours_the_file(make_recording: MakeRecording, tmp_path: Path, theme: Theme) -> None:
    for suffix in ("png", "gif"):
        output = tmp_path / f"a.{suffix}"
        render_animation(make_recording(1, name=f"{suffix}.bin"), output, theme=theme)
        with Image.open(output) as image:
            assert count(image, theme.paper, 0) > 10_000
            assert count(image, theme.panel, 0) > 10_000
            assert count(image, theme.group(0), 0) > 100


def test_letters_that_the_font_lacks_are_named_once(make_recording: MakeRecording, tmp_path: Path) -> None:
    path = make_recording(iterations=30)
    said: list[str] = []
    odd = "\u65e5\u672c \u65e5\x07 \xe9\u03c0"
    render_animation(path, tmp_path / "a.gif", frames=3, title=odd, warn=said.append)
    assert said == [
        "the font of the pictures has no \u65e5, \u672c, U+0007: a mark stands in the place of each",
    ]
    render_animation(path, tmp_path / "a.png", title="plain", warn=said.append)
    assert len(said) == 1
    # A name that is not drawn is not warned of.
    other = make_recording(iterations=30, name="\u65e5.bin")
    render_animation(other, tmp_path / "a.png", title="plain", warn=said.append)
    assert len(said) == 1
    render_animation([path, other], tmp_path / "a.png", title="plain", warn=said.append)
    assert len(said) == 2


def test_runs_of_one_name_are_told_apart_by_their_paths(make_recording: MakeRecording, tmp_path: Path) -> None:
    for place in ("x/one", "y/one", "y/two"):
        (tmp_path / place).mkdir(parents=True)
    paths = [make_recording(iterations=9, name=f"{place}/positions.bin") for place in ("x/one", "y/one", "y/two")]
    other = make_recording(iterations=9, name="other.bin")
    assert [r.title for r in load_recordings([*paths, other])] == [
        "x/one/positions",
        "y/one/positions",
        "y/two/positions",
        "other",
    ]
    assert [r.title for r in load_recordings([paths[1], paths[2]])] == ["one/positions", "two/positions"]
    assert [r.title for r in load_recordings([paths[1], other])] == ["positions", "other"]
    # What is the same stays the same.
    assert [r.title for r in load_recordings([other, other])] == ["other", "other"]
