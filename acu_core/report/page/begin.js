// What a program, such as this project's tests, may use to read and move the page.
async function begin() {
  try {
    const data = JSON.parse(byId("recording").textContent);
    const page = new Page(data, await unpack(data.packed, data.series));
    const { recording } = page;
    window.acu = Object.freeze({
      iterations: recording.iterations,
      layers: recording.layers.map((layer) => layer.name),
      // The number of the snapshot that is shown, from 0.
      get index() {
        return page.index;
      },
      get playing() {
        return page.playing;
      },
      get theme() {
        return page.theme;
      },
      show: (index) => page.show(index),
      play: () => page.play(),
      pause: () => page.pause(),
      // [[y, x], ...] of a layer, groups one after the other, at the snapshot that is shown.
      positions: (name) => synapsesOf(recording, name).map((s) => [recording.y(s, page.index), recording.x(s, page.index)]),
      weightNorms: (name) => synapsesOf(recording, name).map((s) => recording.weightNorm(s, page.index)),
      // Where on the page, in CSS pixels of the window, the synapses of a layer are drawn: [[x, y], ...].
      places: (name) => {
        const panel = page.panels.find((candidate) => candidate.layer.name === name);
        const box = panel.canvas.getBoundingClientRect();
        const scale = box.width / panel.canvas.width;
        return synapsesOf(recording, name).map((s) => [
          box.left + panel.place(recording.x(s, page.index)) * scale,
          box.top + panel.place(recording.y(s, page.index)) * scale,
        ]);
      },
    });
    document.documentElement.dataset.ready = "yes";
  } catch (error) {
    const said = document.createElement("p");
    said.className = "status";
    said.textContent = `The shapes cannot be shown: ${error.message}.`;
    document.querySelector("main").before(said);
    throw error;
  }
}

function synapsesOf(recording, name) {
  const layer = recording.layers.find((candidate) => candidate.name === name);
  return Array.from({ length: layer.size }, (_, s) => layer.first + s);
}

begin();
