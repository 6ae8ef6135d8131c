// Ties the page together: one snapshot is shown, and everything on the page shows that one.

class Page {
  constructor(data, knots) {
    this.data = data;
    this.recording = new Recording(data, knots);
    this.index = this.recording.count - 1;
    this.playing = false;
    this.selected = null;
    // Long trails of many synapses would cost the frames that make the motion smooth.
    const points = Math.max(60, Math.min(300, Math.floor(10000 / this.recording.synapses)));
    const moments = this.recording.trailMoments(points);
    const reach = this.recording.reach();
    const figures = [...document.querySelectorAll("figure.panel")];
    this.panels = this.recording.layers.map((layer, i) => new Panel(figures[i], layer, this.recording, moments, reach));
    this.numbers = new Numbers(this.recording, this.panels);
    this.times = {
      first: this.recording.iterations[0],
      last: this.recording.iterations[this.recording.count - 1],
      warmUp: data.warmUp,
      drops: data.drops,
    };
    this.curves = [];
    for (const [name, lines] of Object.entries({ errors: data.errors, loss: data.loss })) {
      const svg = document.querySelector(`#${name} svg`);
      if (lines && svg) this.curves.push({ name, lines, curve: new Curve(svg, lines, this.times) });
    }
    this.slider = byId("slider");
    this.slider.max = this.recording.count - 1;
    this.readColours();
    this.listen();
    this.markTrack();
    this.resize();
    this.show(this.index);
  }

  readColours() {
    byId("theme").setAttribute("aria-pressed", String(this.theme === "dark"));
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    this.colours = {
      panel: colour("panel"),
      firstCells: colour("first-cells"),
      grid: colour("grid"),
      ghost: colour("ghost"),
      hidden: colour("hidden"),
      spoke: colour("spoke"),
      ink: colour("ink"),
      groups: Array.from({ length: 8 }, (_, group) => colour(`group-${group}`)),
    };
  }

  get theme() {
    const chosen = document.documentElement.dataset.theme;
    return chosen || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  }

  set theme(theme) {
    document.documentElement.dataset.theme = theme;
    this.recolour();
  }

  recolour() {
    this.readColours();
    for (const panel of this.panels) panel.drawBackground(this.colours);
    this.draw();
  }

  resize() {
    this.alignPanels();
    for (const panel of this.panels) if (panel.resize()) panel.drawBackground(this.colours);
    for (const { curve } of this.curves) curve.redraw();
    this.draw();
  }

  // Panels of whole pixels: between pixels the browser would blur them.
  alignPanels() {
    const grid = document.querySelector(".panels");
    grid.style.gridTemplateColumns = "";
    const widths = getComputedStyle(grid).gridTemplateColumns.split(" ");
    grid.style.gridTemplateColumns = `repeat(${widths.length}, ${Math.floor(parseFloat(widths[0]))}px)`;
  }

  show(index) {
    this.index = Math.min(Math.max(Math.round(index), 0), this.recording.count - 1);
    this.draw();
  }

  draw() {
    const iteration = this.recording.iterations[this.index];
    this.slider.value = this.index;
    this.slider.style.setProperty("--share", this.recording.count > 1 ? this.index / (this.recording.count - 1) : 1);
    this.slider.setAttribute("aria-valuetext", `iteration ${inWords(iteration)}`);
    byId("number").textContent = byId("numbers-of").textContent = inWords(iteration);
    byId("phase").textContent = this.phase(iteration);
    for (const panel of this.panels) {
      if (panel.visible) panel.draw(this.index, this.colours, this.selectedIn(panel));
    }
    for (const { name, lines, curve } of this.curves) {
      const at = name === "loss" ? this.lossAt(lines, iteration) : curve.known(iteration);
      curve.show(iteration, at);
      document.querySelector(`#${name} output`).textContent = this.reading(name, lines, at);
    }
    this.numbers.showHint(this.selected, this.index);
    if (byId("numbers").open) this.numbers.fillTable(this.index);
  }

  phase(iteration) {
    if (iteration <= this.data.warmUp && this.data.warmUp > 0) return "warm-up: positions wait";
    const fallen = this.data.drops.filter((drop) => drop <= iteration).length;
    if (!fallen) return "";
    return fallen === 1 ? "learning rate fell once" : `learning rate fell ${fallen} times`;
  }

  // A point of the loss is the mean up to its own iteration: the one that `iteration` is part of.
  lossAt(lines, iteration) {
    if (iteration <= lines.iterations[0] - lines.per) return -1;
    const found = lines.iterations.findIndex((last) => last >= iteration);
    return found < 0 ? lines.iterations.length - 1 : found;
  }

  reading(name, lines, at) {
    if (at < 0) return "none yet";
    const last = lines.iterations[at];
    if (name === "errors") return `${lines.values[at].toFixed(2)} % at ${inWords(last)}`;
    const value = Number(lines.values[at].toPrecision(3));
    const first = at > 0 ? lines.iterations[at - 1] + 1 : last - lines.per + 1;
    return first >= last ? `${value} at ${inWords(last)}` : `${value}, mean of ${inWords(Math.max(first, 1))} to ${inWords(last)}`;
  }

  // The slider counts snapshots, which need not be at equal distances of iterations.
  markTrack() {
    const marks = byId("marks");
    const share = (iteration) => this.recording.indexOf(iteration) / Math.max(1, this.recording.count - 1);
    const add = (name, iteration) => {
      if (iteration <= this.times.first || iteration > this.times.last) return;
      const mark = document.createElement("span");
      mark.className = name;
      mark.style.setProperty("--share", share(iteration));
      marks.append(mark);
    };
    add("warm-up", Math.min(this.data.warmUp, this.times.last));
    for (const drop of this.data.drops) add("drop", drop);
  }

  play() {
    if (this.recording.count < 2) return;
    if (this.index === this.recording.count - 1) this.show(0);
    this.setPlaying(true);
    let before = performance.now();
    let exact = this.index;
    const step = (now) => {
      if (!this.playing) return;
      // Whoever moves the slider meanwhile goes on from there.
      if (Math.floor(exact) !== this.index) exact = this.index;
      // A tab in the background has no frames: it must not jump when it comes back.
      const seconds = Math.min(0.1, Math.max(0, now - before) / 1000);
      before = now;
      // The whole run in 20 seconds, but no snapshot in less than half a second where there are few.
      const perSecond = Math.max(2, (this.recording.count - 1) / 20) * Number(byId("speed").value);
      exact = Math.min(exact + seconds * perSecond, this.recording.count - 1);
      if (Math.floor(exact) !== this.index) this.show(Math.floor(exact));
      if (this.index === this.recording.count - 1) this.setPlaying(false);
      else requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  pause() {
    this.setPlaying(false);
  }

  setPlaying(playing) {
    this.playing = playing;
    document.body.classList.toggle("playing", playing);
    byId("play").setAttribute("aria-label", playing ? "Pause" : "Play");
  }

  selectedIn(panel) {
    return this.selected && this.selected.panel === panel ? this.selected.synapse : -1;
  }

  select(panel, synapse) {
    this.selected = synapse < 0 ? null : { panel, synapse };
    this.draw();
  }

  listen() {
    byId("play").addEventListener("click", () => (this.playing ? this.pause() : this.play()));
    byId("previous").addEventListener("click", () => this.step(-1));
    byId("next").addEventListener("click", () => this.step(1));
    this.slider.addEventListener("input", () => this.show(Number(this.slider.value)));
    byId("theme").addEventListener("click", () => {
      this.theme = this.theme === "dark" ? "light" : "dark";
    });
    byId("numbers").addEventListener("toggle", () => this.draw());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.recolour());
    document.addEventListener("keydown", (event) => this.onKey(event));
    document.addEventListener("pointerdown", (event) => {
      if (!event.target.closest("figure.panel")) this.select(null, -1);
    });
    new ResizeObserver(() => this.resize()).observe(document.querySelector("main"));
    // Of thirty panels most are out of sight: they are drawn when they come into it.
    const sight = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        const panel = this.panels.find((candidate) => candidate.canvas === entry.target);
        panel.visible = entry.isIntersecting;
        if (panel.visible) panel.draw(this.index, this.colours, this.selectedIn(panel));
      }
    });
    for (const panel of this.panels) {
      sight.observe(panel.canvas);
      this.listenToPanel(panel);
    }
    for (const { curve } of this.curves) this.listenToCurve(curve);
    addEventListener("beforeprint", () => this.beginPrint());
    addEventListener("afterprint", () => this.endPrint());
  }

  listenToPanel(panel) {
    const { canvas } = panel;
    canvas.addEventListener("pointermove", (event) => {
      if (event.pointerType === "touch") return;
      this.select(panel, panel.nearest(event.clientX, event.clientY, this.index, 22));
    });
    canvas.addEventListener("pointerleave", (event) => {
      if (event.pointerType !== "touch") this.select(null, -1);
    });
    canvas.addEventListener("click", (event) => {
      // A finger is wide.
      this.select(panel, panel.nearest(event.clientX, event.clientY, this.index, 36));
    });
  }

  listenToCurve(curve) {
    const { svg } = curve;
    const follow = (event) => this.show(this.recording.nearestIndex(curve.iterationAt(event.clientX)));
    svg.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      svg.setPointerCapture(event.pointerId);
      follow(event);
    });
    svg.addEventListener("pointermove", (event) => {
      if (svg.hasPointerCapture(event.pointerId)) follow(event);
    });
  }

  step(by) {
    this.pause();
    this.show(this.index + by);
  }

  onKey(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const target = event.target;
    // What has keys of its own keeps them; of the slider only the space is free.
    if (target.closest("select, .scrolling")) return;
    if (event.key === " " && !target.closest("button, summary")) {
      if (this.playing) this.pause();
      else this.play();
    } else if (event.key === "ArrowLeft" || (event.key === "ArrowDown" && target === this.slider)) this.step(-1);
    else if (event.key === "ArrowRight" || (event.key === "ArrowUp" && target === this.slider)) this.step(1);
    else if (event.key === "Home") this.step(-this.recording.count);
    else if (event.key === "End") this.step(this.recording.count);
    else if (event.key === "PageUp") this.step(50);
    else if (event.key === "PageDown") this.step(-50);
    else if (event.key === "Escape") this.select(null, -1);
    else return;
    event.preventDefault();
  }

  // Paper is white, and what is folded cannot be opened on it.
  beginPrint() {
    this.pause();
    this.screenTheme = document.documentElement.dataset.theme;
    this.folded = [...document.querySelectorAll("details:not([open])")];
    for (const details of this.folded) details.open = true;
    for (const panel of this.panels) panel.visible = true;
    this.theme = "light";
    this.numbers.fillTable(this.index);
  }

  endPrint() {
    for (const details of this.folded || []) details.open = false;
    if (this.screenTheme) document.documentElement.dataset.theme = this.screenTheme;
    else delete document.documentElement.dataset.theme;
    this.recolour();
  }
}
