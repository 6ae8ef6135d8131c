// From the packed bytes back to knots. `packed_recording.py` says what the bytes are.

async function inflate(base64) {
  if (typeof DecompressionStream === "undefined") {
    throw new Error("this browser is too old for the page: use one of 2023 or later");
  }
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

class NumberReader {
  constructor(bytes) {
    this.bytes = bytes;
    this.place = 0;
  }

  next() {
    let number = 0;
    let factor = 1;
    // Not by shifts, which end at 32 bits.
    for (;;) {
      const byte = this.bytes[this.place++];
      number += (byte & 127) * factor;
      if (byte < 128) return number;
      factor *= 128;
    }
  }

  nextSigned() {
    const number = this.next();
    return number % 2 ? -(number + 1) / 2 : number / 2;
  }
}

// {iterations, starts, moments, values}: the knots of series s are those from starts[s] to before starts[s + 1].
async function unpack(base64, series) {
  const reader = new NumberReader(await inflate(base64));
  const iterations = [reader.next()];
  for (let stretches = reader.next(); stretches > 0; stretches--) {
    const distance = reader.next();
    for (let count = reader.next(); count > 0; count--) iterations.push(iterations[iterations.length - 1] + distance);
  }
  const starts = new Int32Array(series + 1);
  for (let s = 0; s < series; s++) starts[s + 1] = starts[s] + reader.next();
  const moments = new Int32Array(starts[series]);
  const values = new Float64Array(starts[series]);
  for (let s = 0; s < series; s++) {
    for (let k = starts[s] + 1; k < starts[s + 1]; k++) moments[k] = moments[k - 1] + reader.next();
  }
  for (let s = 0; s < series; s++) {
    let value = 0;
    for (let k = starts[s]; k < starts[s + 1]; k++) {
      value += reader.nextSigned();
      values[k] = value;
    }
  }
  return { iterations, starts, moments, values };
}
