from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from recordings import restless

from acu_core.report.page import write_page
from acu_core.runs.json_lines import LogWriter
from acu_core.runs.run_directory import RunDirectory
from acu_core.runs.snapshot_header import LayerEntry, TrainingFacts
from acu_core.runs.snapshot_writer import SnapshotWriter

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

GRID = np.stack(np.meshgrid([-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0], indexing="ij"), -1).reshape(1, 9, 2)
RECIPE = """\
name = "small"
description = "a small run"

[schedule]
iterations = {planned}
"""

MakeRun = Callable[..., RunDirectory]
OpenPage = Callable[..., "Page"]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """A run with `iterations` of `planned`, whose positions rest for `warm_up` and then move at random."""

    def make(
        name: str = "small-1",
        *,
        layers: tuple[str, ...] = ("conv1", "conv2"),
        iterations: int = 200,
        planned: int | None = None,
        warm_up: int = 50,
        groups: int = 1,
        recipe: str = RECIPE,
        hidden: list[list[list[float]]] | None = None,
        log: bool = True,
    ) -> RunDirectory:
        environment = {"device": "cpu", "compile": False, "versions": {"torch": "2.10"}}
        text = recipe.format(planned=iterations if planned is None else planned)
        run = RunDirectory.create(tmp_path / name, text, environment)
        size = 9 * groups
        moves = restless(iterations + 1, size * len(layers), step=0.01, warm_up=warm_up)
        generator = np.random.default_rng(2)
        facts = TrainingFacts(warm_up, hidden)
        with SnapshotWriter.create(run.positions, [LayerEntry(n, groups, 9) for n in layers], facts) as writer:
            positions, norms = [], []
            for index in range(len(layers)):
                moved = moves[:, size * index : size * (index + 1)].reshape(-1, groups, 9, 2).copy()
                moved[:, :, 4] = 0
                positions.append(moved + GRID)
                norms.append(generator.uniform(1, 2, moved.shape[:-1]))
            writer.append_block(np.arange(iterations + 1), positions, norms)
        if log:
            _write_log(run, iterations)
        return run

    return make


def _write_log(run: RunDirectory, iterations: int) -> None:
    log = LogWriter(run.metrics)
    for step in range(1, iterations + 1):
        rate = 0.1 if step <= iterations // 2 else 0.01
        rates = {"learning_rate": rate, "position_learning_rate": rate / 100}
        log.append({"iteration": step, "loss": 2.0 / step, "accuracy": 0.5, **rates})
        if step % 50 == 0:
            errors = 1000 - step
            figures = {"test_accuracy": (1000 - errors) / 1000, "test_errors": errors, "test_images": 1000}
            log.append({"iteration": step, "test_loss": 1.0, **figures})
    log.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, or the one that ACU_TEST_CHROMIUM names."""
    pytest.importorskip("playwright", reason="the page's browser tests need playwright")
    from playwright.sync_api import sync_playwright

    chromium = shutil.which(os.environ.get("ACU_TEST_CHROMIUM") or "chromium")
    if chromium is None:
        pytest.skip("the page's browser tests need Chromium: apt-get install chromium")
    # Its sandbox does not work for root.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield found
        found.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Opens a file in a window of its own. A test with an error on the page's console fails."""
    contexts = []
    troubles: list[str] = []

    def open_one(path: Path, *, width: int = 1200, height: int = 900, **options: Any) -> Page:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        # Whatever the page asks for beside itself is trouble, wherever it leads.
        context.route(lambda url: not url.startswith("file:"), lambda route: route.abort())
        page = context.new_page()
        page.on("console", lambda message: troubles.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", lambda request: troubles.append(request.url) if request.url != path.as_uri() else None)
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]", state="attached", timeout=30_000)
        return page

    yield open_one
    for context in contexts:
        context.close()
    # `data:,` is the icon that a page must name, or the browser looks for one.
    assert not [trouble for trouble in troubles if trouble != "data:,"]


@pytest.fixture
def opened(make_run: MakeRun, open_page: OpenPage) -> Callable[..., Page]:
    """The page of a small run in a window."""

    def make(*, run: dict[str, Any] | None = None, **options: Any) -> Page:
        made = make_run(**(run or {}))
        write_page(made, made.figures / "report.html")
        return open_page(made.figures / "report.html", **options)

    return make
