// One layer: its synapses over the pixel grid, where they began, and the way they came.

// The trail by age, as shares of its points: how far back, how strong, how wide.
const TRAIL_BANDS = [
  [1, 0.34, 1.3],
  [0.45, 0.5, 1.5],
  [0.25, 0.64, 1.8],
  [0.12, 0.8, 2.1],
  [0.05, 1, 2.4],
];

class Panel {
  constructor(figure, layer, recording, moments, reach) {
    this.figure = figure;
    this.canvas = figure.querySelector("canvas");
    this.caption = figure.querySelector(".moved-value");
    this.layer = layer;
    this.recording = recording;
    this.moments = moments;
    this.reach = reach;
    this.visible = true;
    this.background = document.createElement("canvas");
    this.trail = new Float32Array(layer.size * moments.length * 2);
    this.learned = [];
    for (let s = 0; s < layer.size; s++) {
      let stays = true;
      moments.forEach((moment, m) => {
        const place = 2 * (s * moments.length + m);
        this.trail[place] = recording.x(layer.first + s, moment);
        this.trail[place + 1] = recording.y(layer.first + s, moment);
        stays = stays && this.trail[place] === this.trail[0 + 2 * s * moments.length];
        stays = stays && this.trail[place + 1] === this.trail[1 + 2 * s * moments.length];
      });
      // A centre that never moves is not learned, and does not look it.
      this.learned.push(!stays || Math.hypot(recording.x(layer.first + s, 0), recording.y(layer.first + s, 0)) > 0);
    }
  }

  // Takes the size that the page gives the canvas. False where nothing changed.
  resize() {
    const side = this.canvas.clientWidth;
    const pixels = Math.max(1, Math.round(side * (window.devicePixelRatio || 1)));
    if (!side || (pixels === this.canvas.width && side === this.side)) return false;
    this.side = side;
    this.canvas.width = this.canvas.height = pixels;
    // Less than proportionally: small panels need bold marks.
    this.bold = (side / 240) ** 0.6;
    return true;
  }

  // From input pixels to the canvas's own.
  place(value) {
    return ((value / this.reach + 1) * this.canvas.width) / 2;
  }

  drawBackground(colours) {
    const { width } = this.canvas;
    this.background.width = this.background.height = width;
    const context = this.background.getContext("2d");
    const unit = width / (2 * this.reach);
    const line = width / this.side;
    context.fillStyle = colours.panel;
    context.fillRect(0, 0, width, width);
    context.fillStyle = colours.firstCells;
    const starts = this.everySynapse((s) => [this.recording.x(s, 0), this.recording.y(s, 0)]);
    for (const [x, y] of starts) {
      context.fillRect(this.place(Math.round(x) - 0.5), this.place(Math.round(y) - 0.5), unit, unit);
    }
    context.strokeStyle = colours.grid;
    context.lineWidth = line;
    context.beginPath();
    // Of wide shapes every fifth line, or the grid would be all that one sees.
    const stride = Math.max(1, Math.ceil(this.reach / 12));
    for (let at = 0.5; at < this.reach; at += stride) {
      for (const sign of [-1, 1]) {
        const place = Math.round(this.place(sign * at)) + 0.5;
        context.moveTo(place, 0);
        context.lineTo(place, width);
        context.moveTo(0, place);
        context.lineTo(width, place);
      }
    }
    context.stroke();
    this.drawHidden(context, colours, line);
    context.strokeStyle = colours.ghost;
    context.lineWidth = 1.1 * line * this.bold;
    for (const [x, y] of starts) {
      context.beginPath();
      context.arc(this.place(x), this.place(y), 6 * line * this.bold, 0, 2 * Math.PI);
      context.stroke();
    }
  }

  drawHidden(context, colours, line) {
    const hidden = this.recording.data.hidden;
    if (!hidden || hidden[0].length !== this.layer.synapses) return;
    for (const [y, x] of hidden.flat()) {
      context.strokeStyle = colours.hidden;
      context.lineWidth = line * this.bold;
      context.setLineDash([4 * line, 3 * line]);
      context.beginPath();
      context.moveTo(this.place(0), this.place(0));
      context.lineTo(this.place(x), this.place(y));
      context.stroke();
      context.setLineDash([]);
      context.fillStyle = colours.panel;
      context.lineWidth = 1.8 * line * this.bold;
      context.beginPath();
      context.arc(this.place(x), this.place(y), 8.5 * line * this.bold, 0, 2 * Math.PI);
      context.fill();
      context.stroke();
    }
  }

  draw(index, colours, selected) {
    const context = this.canvas.getContext("2d");
    const line = this.canvas.width / this.side;
    const places = this.everySynapse((s) => [
      this.place(this.recording.x(s, index)),
      this.place(this.recording.y(s, index)),
    ]);
    const norms = this.everySynapse((s) => this.recording.weightNorm(s, index));
    const mean = norms.reduce((sum, norm) => sum + norm, 0) / norms.length;
    context.drawImage(this.background, 0, 0);
    // Round ones cost a third of the frame and cannot be seen at this width.
    context.lineCap = "butt";
    context.lineJoin = "bevel";
    this.drawTrails(context, index, places, colours, line);
    this.drawSpokes(context, places, colours, line);
    places.forEach(([x, y], s) => {
      const radius = this.radius(norms[s] / mean) * line;
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.fillStyle = this.learned[s] ? colours.groups[this.group(s) % colours.groups.length] : colours.ink;
      context.fill();
      context.lineWidth = line * this.bold;
      context.strokeStyle = colours.panel;
      context.stroke();
      if (s === selected) {
        context.lineWidth = 2 * line;
        context.strokeStyle = colours.ink;
        context.beginPath();
        context.arc(x, y, radius + 3 * line, 0, 2 * Math.PI);
        context.stroke();
      }
    });
    this.caption.textContent = `${this.recording.movedOfLayer(this.layer, index).toFixed(2)} px`;
  }

  // In CSS pixels, as in the pictures: with the square of the norm beside the layer's mean, for they differ little.
  radius(relative) {
    const clipped = Number.isFinite(relative) ? Math.min(Math.max(relative, 0.55), 1.5) : 1;
    return 5.2 * this.bold * clipped ** 2;
  }

  drawTrails(context, index, places, colours, line) {
    const count = this.moments.length;
    // Where nothing was recorded the way is not known. Both sides of a gap are moments.
    const unknown = this.moments.map((moment, m) => m > 0 && this.recording.paused[this.moments[m - 1]] === 1);
    const kinds = unknown.includes(true) ? [false, true] : [false];
    let newest = 0;
    while (newest + 1 < count && this.moments[newest + 1] <= index) newest++;
    TRAIL_BANDS.forEach(([oldestShare, strength, width], band) => {
      const youngestShare = band + 1 < TRAIL_BANDS.length ? TRAIL_BANDS[band + 1][0] : 0;
      const from = Math.max(0, newest - Math.ceil(oldestShare * count));
      const to = newest - Math.ceil(youngestShare * count);
      if (to < 0 || (to <= from && youngestShare > 0)) return;
      context.globalAlpha = strength;
      context.lineWidth = width * line * this.bold;
      for (const dashed of kinds) {
        context.setLineDash(dashed ? [5 * line, 4 * line] : []);
        for (let group = 0; group < this.layer.groups; group++) {
          context.strokeStyle = colours.groups[group % colours.groups.length];
          context.beginPath();
          for (let k = 0; k < this.layer.synapses; k++) {
            const s = group * this.layer.synapses + k;
            if (!this.learned[s]) continue;
            const row = 2 * s * count;
            const go = (move, m) => context[move](this.place(this.trail[row + 2 * m]), this.place(this.trail[row + 2 * m + 1]));
            go("moveTo", from);
            for (let m = from + 1; m <= to; m++) go(unknown[m] === dashed ? "lineTo" : "moveTo", m);
            if (youngestShare === 0 && !dashed) context.lineTo(places[s][0], places[s][1]);
          }
          context.stroke();
        }
      }
    });
    context.globalAlpha = 1;
    context.setLineDash([]);
  }

  drawSpokes(context, places, colours, line) {
    context.lineWidth = 1.2 * line * this.bold;
    for (let group = 0; group < this.layer.groups; group++) {
      const several = this.layer.groups > 1;
      context.strokeStyle = several ? colours.groups[group % colours.groups.length] : colours.spoke;
      context.globalAlpha = several ? 0.7 : 1;
      context.beginPath();
      for (const [x, y] of places.slice(group * this.layer.synapses, (group + 1) * this.layer.synapses)) {
        context.moveTo(this.place(0), this.place(0));
        context.lineTo(x, y);
      }
      context.stroke();
    }
    context.globalAlpha = 1;
  }

  // The synapse nearest to a point of the page, or -1 when none is within `distance` CSS pixels.
  nearest(clientX, clientY, index, distance) {
    const box = this.canvas.getBoundingClientRect();
    const scale = box.width / this.canvas.width;
    let found = -1;
    this.everySynapse((s) => [this.recording.x(s, index), this.recording.y(s, index)]).forEach(([x, y], s) => {
      const away = Math.hypot(
        this.place(x) * scale + box.left - clientX,
        this.place(y) * scale + box.top - clientY,
      );
      if (away < distance) {
        distance = away;
        found = s;
      }
    });
    return found;
  }

  group(synapse) {
    return Math.floor(synapse / this.layer.synapses);
  }

  everySynapse(make) {
    return Array.from({ length: this.layer.size }, (_, s) => make(this.layer.first + s));
  }
}
