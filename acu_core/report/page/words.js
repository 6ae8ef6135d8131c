// What all parts of the script use.

const byId = (id) => document.getElementById(id);
const inWords = (number) => number.toLocaleString("en");
// Three figures, zeros at the end among them, so that numbers below each other look alike.
const inFigures = (number) => (number >= 1000 && number < 1e6 ? number.toFixed(0) : number.toPrecision(3));
