// What was recorded: positions and weight norms of every synapse at every snapshot.

class Recording {
  constructor(data, knots) {
    this.data = data;
    this.knots = knots;
    this.iterations = knots.iterations;
    this.count = knots.iterations.length;
    // Whether the way from a snapshot to the next one was not recorded.
    this.paused = new Uint8Array(this.count);
    for (const before of data.gaps) this.paused[before] = 1;
    this.synapses = 0;
    this.layers = data.layers.map((layer) => {
      const size = layer.groups * layer.synapses;
      const first = this.synapses;
      this.synapses += size;
      return { ...layer, first, size };
    });
  }

  value(series, index) {
    const { starts, moments, values } = this.knots;
    let low = starts[series];
    let high = starts[series + 1] - 1;
    if (index >= moments[high]) return values[high];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (moments[middle] <= index) low = middle;
      else high = middle;
    }
    const share = (index - moments[low]) / (moments[high] - moments[low]);
    return values[low] + share * (values[high] - values[low]);
  }

  y(synapse, index) {
    return this.value(2 * synapse, index) * this.data.positionStep;
  }

  x(synapse, index) {
    return this.value(2 * synapse + 1, index) * this.data.positionStep;
  }

  // Infinity stands for a norm that was not finite.
  weightNorm(synapse, index) {
    return this.norm(this.value(2 * this.synapses + synapse, index));
  }

  norm(steps) {
    const logarithm = steps * this.data.normStep;
    if (logarithm > 89.5) return Infinity;
    return logarithm < -79.5 ? 0 : Math.exp(logarithm);
  }

  moved(synapse, index) {
    return Math.hypot(this.y(synapse, index) - this.y(synapse, 0), this.x(synapse, index) - this.x(synapse, 0));
  }

  // The root mean square of its synapses.
  movedOfLayer(layer, index) {
    let sum = 0;
    for (let s = layer.first; s < layer.first + layer.size; s++) sum += this.moved(s, index) ** 2;
    return Math.sqrt(sum / layer.size);
  }

  // Half the side of every panel in input pixels, one for all: it holds every position of every snapshot.
  reach() {
    const { starts, values } = this.knots;
    let largest = 0;
    for (let k = 0; k < starts[2 * this.synapses]; k++) largest = Math.max(largest, Math.abs(values[k]));
    largest *= this.data.positionStep;
    for (const group of this.data.hidden || []) {
      for (const place of group) largest = Math.max(largest, Math.abs(place[0]), Math.abs(place[1]));
    }
    return Math.max(1.8, 1.06 * largest + 0.35);
  }

  // The last snapshot whose iteration is not beyond `iteration`; the first one where there is none.
  indexOf(iteration) {
    let low = 0;
    let high = this.count - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.iterations[middle] <= iteration) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  nearestIndex(iteration) {
    const before = this.indexOf(iteration);
    const after = Math.min(before + 1, this.count - 1);
    return iteration - this.iterations[before] <= this.iterations[after] - iteration ? before : after;
  }

  // About `points` snapshots for trails, near each other where much moves, and both sides of every gap.
  trailMoments(points) {
    const steps = Math.min(this.count - 1, 1000);
    if (steps < 1) return [0];
    const samples = Array.from({ length: steps + 1 }, (_, i) => Math.round((i * (this.count - 1)) / steps));
    const distance = new Float64Array(steps + 1);
    for (let i = 1; i <= steps; i++) {
      let sum = 0;
      for (let s = 0; s < this.synapses; s++) {
        sum += Math.hypot(
          this.y(s, samples[i]) - this.y(s, samples[i - 1]),
          this.x(s, samples[i]) - this.x(s, samples[i - 1]),
        );
      }
      distance[i] = distance[i - 1] + sum;
    }
    const whole = distance[steps] || 1;
    const chosen = [0];
    let wanted = 1;
    for (let i = 1; i <= steps; i++) {
      // A quarter of the points follow the iterations, so that a long calm has some too.
      const share = (0.75 * distance[i]) / whole + (0.25 * i) / steps;
      if (share * (points - 1) >= wanted || i === steps) {
        chosen.push(samples[i]);
        wanted = Math.floor(share * (points - 1)) + 1;
      }
    }
    for (const before of this.data.gaps) chosen.push(before, before + 1);
    return [...new Set(chosen)].sort((a, b) => a - b);
  }
}
