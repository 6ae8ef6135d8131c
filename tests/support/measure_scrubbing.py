"""Frames a second of a page that is scrubbed: `python tests/support/measure_scrubbing.py PAGE.html [PAGE.html ...]`.

Every frame of headless Chromium moves the page's slider to another of 300 snapshots over the whole run, back and forth;
counted are the frames that the browser showed in that time, and the milliseconds that the page's own script took for
each. Chromium shows at most 60 a second.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

FRAMES = 300
SCRUB = """
(frames) => new Promise((done) => {
  const slider = document.getElementById("slider");
  const last = acu.iterations.length - 1;
  const spent = [];
  const times = [];
  const step = (now) => {
    times.push(now);
    if (times.length > frames) {
      const between = times.slice(1).map((time, i) => time - times[i]).sort((a, b) => a - b);
      spent.sort((a, b) => a - b);
      const at = (list, share) => list[Math.min(list.length - 1, Math.floor(share * list.length))];
      done({
        perSecond: (1000 * frames) / (now - times[0]),
        slowest: at(between, 0.95),
        script: at(spent, 0.5),
        slowScript: at(spent, 0.95),
      });
      return;
    }
    const begin = performance.now();
    // A triangle that does not end where it began: every frame shows another snapshot.
    const share = Math.abs(((times.length * 2.37) / frames) % 2 - 1);
    slider.value = Math.round(share * last);
    slider.dispatchEvent(new Event("input"));
    spent.push(performance.now() - begin);
    requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
})
"""


def main(paths: list[str]) -> None:
    chromium = os.environ.get("ACU_TEST_CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        sys.exit("Chromium is missing: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox"] if os.geteuid() == 0 else []
        )
        for path in paths:
            for width, height in ((1200, 900), (360, 740)):
                page = browser.new_page(viewport={"width": width, "height": height})
                page.goto(Path(path).resolve().as_uri())
                page.wait_for_selector("html[data-ready]", state="attached")
                found = page.evaluate(SCRUB, FRAMES)
                print(
                    f"{Path(path).name} at {width} x {height}: {found['perSecond']:.1f} frames a second, "
                    f"95 % within {found['slowest']:.1f} ms; script {found['script']:.2f} ms, "
                    f"95 % within {found['slowScript']:.2f} ms"
                )
                page.close()
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
