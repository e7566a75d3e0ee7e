// A small line of the latest values of one number, without axes.

import { drawn } from "./dom.js";

const VALUES_MAX = 120;
const [WIDTH, HEIGHT] = [240, 44];

export class Spark {
  constructor(svg) {
    this.values = [];
    this.area = drawn("path", { class: "area" });
    this.line = drawn("path", { class: "line" });
    svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    svg.replaceChildren(this.area, this.line);
  }

  // Adds a value, 0 or more, at the right end.
  add(value) {
    this.values.push(value);
    if (this.values.length > VALUES_MAX) this.values.shift();
    const highest = Math.max(1, ...this.values);
    const start = VALUES_MAX - this.values.length;
    const x = (place) => ((place / (VALUES_MAX - 1)) * WIDTH).toFixed(1);
    const y = (value) => (HEIGHT - 2 - (value / highest) * (HEIGHT - 6)).toFixed(1);
    const places = this.values.map((each, i) => `${x(start + i)} ${y(each)}`);
    this.line.setAttribute("d", `M${places.join("L")}`);
    this.area.setAttribute("d", `M${x(start)} ${HEIGHT}L${places.join("L")}L${WIDTH} ${HEIGHT}Z`);
  }
}
