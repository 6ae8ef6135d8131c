// A curve over the iterations, as SVG that is drawn anew for each width: its text keeps its size.

const SVG = "http://www.w3.org/2000/svg";

function element(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// About `wanted` round numbers from `low` to `high`.
function ticks(low, high, wanted) {
  const rough = Math.max((high - low) / wanted, Number.MIN_VALUE);
  const power = 10 ** Math.floor(Math.log10(rough));
  const away = (factor) => Math.abs(Math.log((factor * power) / rough));
  const step = power * [1, 2, 5, 10].reduce((best, factor) => (away(factor) < away(best) ? factor : best));
  const found = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high * (1 + 1e-9); n++) found.push(n * step + 0);
  return found;
}

class Curve {
  // `lines` is {iterations, values, low?, high?}; `times` is {first, last, warmUp, drops}.
  constructor(svg, lines, times) {
    this.svg = svg;
    this.lines = lines;
    this.times = times;
    this.height = 150;
    this.edges = { left: 38, right: 10, top: 8, bottom: 22 };
    this.highest = Math.max(...lines.values, ...(lines.high || [])) || 1;
    // A loss of the first iterations that is far above all others would flatten the rest.
    if (lines.high && lines.values.length > 20) {
      const ordered = [...lines.high].sort((a, b) => a - b);
      const usual = 2 * ordered[Math.floor(0.97 * (ordered.length - 1))];
      if (usual > 0 && this.highest > 1.5 * usual) {
        this.beyond = `higher at first, up to ${Number(this.highest.toPrecision(3))}`;
        this.highest = usual;
      }
    }
    this.highest *= 1.04;
  }

  across(iteration) {
    const { first, last } = this.times;
    const share = last > first ? (iteration - first) / (last - first) : 0.5;
    return this.edges.left + share * (this.width - this.edges.left - this.edges.right);
  }

  up(value) {
    const room = this.height - this.edges.top - this.edges.bottom;
    return this.edges.top + room * (1 - Math.min(value, this.highest) / this.highest);
  }

  iterationAt(clientX) {
    const box = this.svg.getBoundingClientRect();
    const share = (clientX - box.left - this.edges.left) / (this.width - this.edges.left - this.edges.right);
    return this.times.first + Math.min(1, Math.max(0, share)) * (this.times.last - this.times.first);
  }

  redraw() {
    this.width = this.svg.parentElement.clientWidth || 320;
    this.svg.setAttribute("viewBox", `0 0 ${this.width} ${this.height}`);
    this.svg.setAttribute("height", this.height);
    const { left, right, top, bottom } = this.edges;
    const floor = this.height - bottom;
    const parts = [];
    const { first, last, warmUp, drops } = this.times;
    if (warmUp > first) {
      const end = this.across(Math.min(warmUp, last));
      parts.push(element("rect", { class: "warm-up", x: left, y: top, width: end - left, height: floor - top }));
    }
    for (const value of ticks(0, this.highest, 4)) {
      const y = this.up(value);
      parts.push(element("line", { class: "grid", x1: left, x2: this.width - right, y1: y, y2: y }));
      parts.push(element("text", { x: left - 6, y: y + 4, "text-anchor": "end" }, String(Number(value.toPrecision(4)))));
    }
    for (const iteration of ticks(first, last, this.width / 110)) {
      const x = this.across(iteration);
      const anchor = x > this.width - right - 24 ? "end" : x < left + 12 ? "start" : "middle";
      parts.push(element("line", { class: "grid", x1: x, x2: x, y1: floor, y2: floor + 4 }));
      parts.push(element("text", { x, y: floor + 16, "text-anchor": anchor }, iteration.toLocaleString("en")));
    }
    for (const drop of drops) {
      const x = this.across(drop);
      parts.push(element("line", { class: "drop", x1: x, x2: x, y1: top, y2: floor }));
    }
    const { iterations, values, low, high } = this.lines;
    const points = (of) => iterations.map((n, i) => `${this.across(n).toFixed(1)},${this.up(of[i]).toFixed(1)}`);
    if (this.beyond) parts.push(element("text", { x: left + 8, y: top + 12 }, this.beyond));
    if (low) parts.push(element("polygon", { class: "band", points: [...points(high), ...points(low).reverse()].join(" ") }));
    parts.push(element("polyline", { class: "line", points: points(values).join(" ") }));
    if (!low && values.length <= 80) {
      iterations.forEach((n, i) => {
        parts.push(element("circle", { class: "point", cx: this.across(n), cy: this.up(values[i]), r: 2.4 }));
      });
    }
    this.cursor = element("line", { class: "cursor", y1: top, y2: floor });
    this.dot = element("circle", { class: "cursor-dot", r: 4.5 });
    this.svg.replaceChildren(...parts, this.cursor, this.dot);
  }

  // The number of the last value that was known at `iteration`, or -1.
  known(iteration) {
    let low = -1;
    let high = this.lines.iterations.length - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (this.lines.iterations[middle] <= iteration) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  // Puts the dot on value number `at`, or away when it is -1.
  show(iteration, at) {
    const x = this.across(iteration);
    this.cursor.setAttribute("x1", x);
    this.cursor.setAttribute("x2", x);
    this.dot.setAttribute("visibility", at < 0 ? "hidden" : "visible");
    if (at < 0) return;
    this.dot.setAttribute("cx", this.across(this.lines.iterations[at]));
    this.dot.setAttribute("cy", this.up(this.lines.values[at]));
  }
}
