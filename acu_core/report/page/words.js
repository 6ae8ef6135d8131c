// What all parts of the script use.

const byId = (id) => document.getElementById(id);
const inWords = (number) => number.toLocaleString("en");
