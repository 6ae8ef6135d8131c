// The numbers of synapses at one snapshot: of one beside it, and of all in a table, for those who cannot see the shapes.

class Numbers {
  constructor(recording, panels) {
    this.recording = recording;
    this.panels = panels;
  }

  of(panel, synapse, index) {
    const number = panel.layer.first + synapse;
    const { recording } = this;
    const norm = recording.weightNorm(number, index);
    return {
      layer: panel.layer.name,
      // Counted from 0, as the files and the other commands do.
      group: panel.group(synapse),
      synapse: synapse % panel.layer.synapses,
      y: recording.y(number, index).toFixed(3),
      x: recording.x(number, index).toFixed(3),
      moved: recording.moved(number, index).toFixed(3),
      norm: norm < Infinity ? inFigures(norm) : "not finite",
    };
  }

  // The numbers of one synapse beside it; nothing where `selected` is null.
  showHint(selected, index) {
    const hint = byId("hint");
    hint.hidden = !selected;
    if (!selected) return;
    const { panel, synapse } = selected;
    const first = this.recording.iterations[0];
    const numbers = this.of(panel, synapse, index);
    const title = document.createElement("strong");
    title.textContent = numbers.layer;
    const list = document.createElement("dl");
    const rows = [
      ["synapse", `${numbers.synapse} (0 to ${panel.layer.synapses - 1})`],
      ["y, x", `${numbers.y}, ${numbers.x} px`],
      ["moved", `${numbers.moved} px ${first ? `since ${inWords(first)}` : "from the start"}`],
      ["weight norm", numbers.norm],
    ];
    if (panel.layer.groups > 1) rows.splice(1, 0, ["group", `${numbers.group} (0 to ${panel.layer.groups - 1})`]);
    for (const [name, text] of rows) {
      const term = document.createElement("dt");
      term.textContent = name;
      const value = document.createElement("dd");
      value.textContent = text;
      list.append(term, value);
    }
    hint.replaceChildren(title, list);
    const box = panel.canvas.getBoundingClientRect();
    const scale = box.width / panel.canvas.width;
    const number = panel.layer.first + synapse;
    const x = box.left + panel.place(this.recording.x(number, index)) * scale;
    const y = box.top + panel.place(this.recording.y(number, index)) * scale;
    const room = document.documentElement.clientWidth;
    const left = x + 16 + hint.offsetWidth > room - 8 ? x - 16 - hint.offsetWidth : x + 16;
    const top = y - hint.offsetHeight - 12 < 8 ? y + 16 : y - hint.offsetHeight - 12;
    hint.style.left = `${Math.max(8, Math.min(left, room - hint.offsetWidth - 8)) + window.scrollX}px`;
    hint.style.top = `${top + window.scrollY}px`;
  }

  // Every synapse of every layer, as a table.
  fillTable(index) {
    const body = document.querySelector("#numbers tbody");
    const rows = this.panels.flatMap((panel) => Array.from({ length: panel.layer.size }, (_, s) => [panel, s]));
    while (body.rows.length < rows.length) {
      const row = body.insertRow();
      for (let cell = 0; cell < 7; cell++) row.insertCell();
    }
    rows.forEach(([panel, synapse], i) => {
      Object.values(this.of(panel, synapse, index)).forEach((text, cell) => {
        body.rows[i].cells[cell].textContent = text;
      });
    });
  }
}
