from __future__ import annotations

import base64
import fnmatch
import hashlib
import json
import os
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from acu_core.errors import UserError
from acu_core.render.colours import DARK, LIGHT, Colour, Theme
from acu_core.report import packed_recording
from acu_core.report.page import default_page, write_page
from acu_core.report.page_text import columns
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.snapshot_header import LayerEntry
from acu_core.runs.snapshot_writer import SnapshotWriter

ROOT = Path(__file__).parents[3]
MakeRun = Callable[..., RunDirectory]
HOSTILE = "</script><img src=x onerror=alert(1)>{{script}}"


class Elements(HTMLParser):
    """Every element's attributes, and the text of the page outside its script and style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self.words: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        {"script": self.scripts, "style": self.styles}.get(self._inside, self.words).append(data)


def page_of(run: RunDirectory | Path, **options: Any) -> Elements:
    path = (run.path if isinstance(run, RunDirectory) else run).parent / "page.html"
    write_page(run, path, **options)
    return Elements(path.read_text())


def words(page: Elements) -> str:
    return " ".join("".join(page.words).split())


def data(page: Elements) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(page.scripts[0])
    return found


def test_the_page_refers_to_nothing_beside_itself(make_run: MakeRun) -> None:
    page = page_of(make_run())
    leading = {"src", "href", "srcset", "action", "formaction", "data", "poster", "background", "ping", "xlink:href"}
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            assert name not in leading or (tag, name, value) == ("link", "href", "data:,"), (tag, name, value)
            assert not name.startswith("on"), (tag, name)
            assert name != "style", tag
    style, script = "".join(page.styles), page.scripts[1]
    assert not re.search(r"url\(|@import|//", style)
    assert not re.search(r"\b(import|fetch|XMLHttpRequest|WebSocket|sendBeacon|EventSource|Worker)\s*\(", script)
    assert re.findall(r"https?://[^\"]*", script) == ["http://www.w3.org/2000/svg"]  # A name, which nobody fetches.


def test_the_page_forbids_every_other_script_and_style(make_run: MakeRun) -> None:
    page = page_of(make_run())
    (policy,) = [a["content"] for t, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for text in (page.scripts[1], page.styles[0]):
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in policy


def test_text_from_outside_is_text(make_run: MakeRun) -> None:
    recipe = f'description = "{HOSTILE}"\n[schedule]\niterations = 200\n'.replace("{{", "{{{{").replace("}}", "}}}}")
    run = make_run(layers=(HOSTILE, "conv2"), recipe=recipe)
    environment = {**run.environment, "device_name": HOSTILE}
    run.replace_environment(environment)
    page = page_of(run)
    assert [tag for tag, _ in page.elements if tag in ("img", "script")] == ["script", "script"]
    assert data(page)["layers"][0]["name"] == HOSTILE
    assert words(page).count(HOSTILE) >= 3  # description, recipe, environment
    assert f"Shape of {HOSTILE}" in [a.get("aria-label") for _, a in page.elements]


def test_the_figures_are_those_of_the_run(make_run: MakeRun) -> None:
    page = page_of(make_run())
    text = words(page)
    assert "Test error80.00 % at iteration 200" in text
    assert "Iterations200 201 snapshots, 0 to 200" in text
    assert "had not finished" not in text
    assert "iterations = 200" in text
    assert "versions: torch2.10" in text
    assert "compileno" in text
    found = data(page)
    assert found["errors"] == {"iterations": [50, 100, 150, 200], "values": [95.0, 90.0, 85.0, 80.0]}
    assert found["drops"] == [101]
    assert found["warmUp"] == 50
    assert found["loss"]["per"] == 1
    assert found["loss"]["values"][:3] == [2.0, 1.0, 0.6667]


def test_a_run_that_goes_on_says_how_far_it_was(make_run: MakeRun) -> None:
    assert "As of iteration 200 of 64,000" in words(page_of(make_run(planned=64_000)))


def test_an_import_is_no_unfinished_run(make_run: MakeRun) -> None:
    run = make_run(planned=64_000, log=False)
    run.replace_environment({"imported": {"format": "Caffe", "files": [{"name": "a", "iteration": 200}]}})
    text = words(page_of(run))
    assert "had not finished" not in text
    assert "planned" not in text


def test_names_that_are_no_text_are_written_as_far_as_they_are(make_run: MakeRun) -> None:
    run = make_run(name=os.fsdecode(b"run-\xff"), layers=("conv\ud800", "conv2"))
    page = page_of(run)
    assert "run-?" in words(page)
    assert data(page)["layers"][0]["name"] == "conv\ud800"


def test_a_part_of_a_run_shows_that_part_and_is_not_unfinished(make_run: MakeRun) -> None:
    page = page_of(make_run(), first=60, last=150, layers=["conv2"])
    found = data(page)
    assert [layer["name"] for layer in found["layers"]] == ["conv2"]
    assert found["errors"]["iterations"] == [100, 150]
    assert found["loss"]["iterations"][0] == 60
    assert found["loss"]["iterations"][-1] == 150
    assert "Test error85.00 % at iteration 150" in words(page)
    assert "had not finished" not in words(page)


def test_a_file_of_positions_alone_has_a_page_without_curves(make_run: MakeRun) -> None:
    run = make_run()
    page = page_of(run.positions)
    assert data(page)["errors"] is None
    assert data(page)["loss"] is None
    assert "Recipe" not in words(page)
    assert "Training loss" not in words(page)
    assert default_page(run.positions) == run.path / "positions.html"


def test_the_page_goes_into_the_run_unless_told_otherwise(make_run: MakeRun) -> None:
    run = make_run()
    assert default_page(run.path) == run.figures / "report.html"


def test_equal_runs_give_equal_pages(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    write_page(run, tmp_path / "a.html")
    write_page(run.path, tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_the_report_is_true(make_run: MakeRun, tmp_path: Path) -> None:
    report = write_page(make_run(), tmp_path / "page.html")
    assert report.bytes == (tmp_path / "page.html").stat().st_size
    assert (report.snapshots, report.first, report.last) == (201, 0, 200)
    assert 0 < report.position_error <= 0.01


def test_a_page_that_had_to_be_coarse_says_so(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run()
    assert "too restless" not in words(page_of(run))
    monkeypatch.setattr(packed_recording, "_SMALL", 0)
    monkeypatch.setattr(packed_recording, "_LARGEST", 2000)
    monkeypatch.setattr(packed_recording, "_LARGEST_PER_SERIES", 1)
    assert "too restless" in words(page_of(run))


def test_damaged_logs_are_left_out_with_a_warning(make_run: MakeRun) -> None:
    run = make_run()
    content = bytearray(run.metrics.read_bytes())
    content[100] ^= 1
    run.metrics.write_bytes(content)
    (run.path / "environment.json").write_text("{")
    told: list[str] = []
    page = page_of(run, warn=told.append)
    assert data(page)["loss"] is None
    assert any("environment.json" in text for text in told)


def test_a_recipe_that_is_no_toml_is_shown_as_it_is(make_run: MakeRun) -> None:
    assert "this is no toml" in words(page_of(make_run(recipe="this is no toml <")))


def write_nothing(run: RunDirectory) -> None:
    run.positions.unlink()
    SnapshotWriter.create(run.positions, [LayerEntry("conv1", 1, 9)]).close()


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda run: run.positions.write_bytes(b"GIF89a"), "is not a snapshot file"),
        (lambda run: run.positions.write_bytes(b""), "ends inside its header"),
        (lambda run: run.positions.unlink(), "there are no snapshots"),
        (lambda run: (run.path / "recipe.toml").unlink(), "is not a run"),
        (write_nothing, "has no snapshot yet"),
    ],
    ids=["foreign", "empty", "missing", "no run", "not begun"],
)
def test_what_has_nothing_to_show_is_one_sentence_and_harms_nothing(
    make_run: MakeRun, tmp_path: Path, harm: Callable[[RunDirectory], object], said: str
) -> None:
    run = make_run()
    (tmp_path / "page.html").write_text("before")
    harm(run)
    with pytest.raises(UserError, match=said) as caught:
        write_page(run.path, tmp_path / "page.html")
    assert "\n" not in str(caught.value)
    assert (tmp_path / "page.html").read_text() == "before"


def test_an_interrupted_page_harms_nothing(make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run()
    output = tmp_path / "out" / "page.html"
    output.parent.mkdir()
    output.write_text("before")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_page(run, output)
    assert [path.name for path in output.parent.iterdir()] == ["page.html"]
    assert output.read_text() == "before"


@pytest.mark.parametrize("name", ["page.htm", "page.gif", "page"])
def test_only_an_html_is_a_page(make_run: MakeRun, tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"must end with \.html"):
        write_page(make_run(), tmp_path / name)


def test_a_page_cannot_be_where_a_directory_is(make_run: MakeRun, tmp_path: Path) -> None:
    (tmp_path / "page.html").mkdir()
    with pytest.raises(UserError, match="is a directory"):
        write_page(make_run(), tmp_path / "page.html")


def test_layers_of_many_stages_stand_under_their_stages_names(make_run: MakeRun) -> None:
    blocks = [f"stage{s}.blocks.{b}.conv{c}" for s in (1, 2) for b in range(4) for c in (1, 2)]
    page = page_of(make_run(layers=("stem", *blocks), iterations=20))
    text = words(page)
    assert "stage1.blocks0.conv1moved" in text
    assert text.count("0.conv1moved") == 2


def test_short_stages_share_rows_and_keep_their_whole_names(make_run: MakeRun) -> None:
    blocks = [f"part{b}.conv{c}" for b in range(8) for c in (1, 2)]
    page = page_of(make_run(layers=("stem", *blocks), iterations=20))
    assert not [element for element, _ in page.elements if element == "h3"]
    assert "part5.conv1moved" in words(page)


def test_numbered_blocks_stand_under_their_stage_and_keep_their_names(make_run: MakeRun) -> None:
    blocks = [f"block{s}_{b}.body.conv{c}" for s in (1, 2) for b in range(4) for c in (1, 2)]
    text = words(page_of(make_run(layers=("stem", *blocks), iterations=20)))
    assert "block1block1_0" in text
    assert "block2block2_0" in text


def test_rows_are_nearly_full() -> None:
    counts = {1: 1, 2: 2, 3: 3, 4: 2, 5: 3, 6: 3, 7: 4, 8: 4, 9: 3, 12: 4}
    assert {n: columns([f"conv{i}" for i in range(n)]) for n in counts} == counts
    assert columns(["stem", *(f"stage{s}.{b}.conv" for s in (1, 2, 3) for b in range(10))]) == 5
    assert columns(["stem", *(f"stage{s}.{b}.conv" for s in (1, 2, 3) for b in range(8))]) == 4


def luminance(colour: Colour) -> float:
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: Colour, other: Colour) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: str(theme.name))
def test_text_is_legible_where_the_page_puts_it(theme: Theme) -> None:
    """In `page.css`: ink and muted on paper, ink on panel (recipe, buttons) and on the status's warm-up track."""
    for text, ground in [
        (theme.ink, theme.paper),
        (theme.muted, theme.paper),
        (theme.ink, theme.panel),
        (theme.ink, theme.warm_up_track),
    ]:
        assert contrast(text, ground) >= 4.5


def test_a_wheel_holds_every_part_of_the_page() -> None:
    settings = (ROOT / "pyproject.toml").read_text()
    patterns = re.findall(r'"([^"]+)"', re.search(r"acu_core = \[(.*?)\]", settings)[1])  # type: ignore[index]
    for path in (ROOT / "acu_core" / "report" / "page").iterdir():
        name = path.relative_to(ROOT / "acu_core").as_posix()
        assert any(fnmatch.fnmatch(name, pattern) for pattern in patterns), name


def test_the_parts_of_the_page_stay_readable() -> None:
    for path in (ROOT / "acu_core" / "report" / "page").iterdir():
        assert len(path.read_text().splitlines()) <= 400, path
