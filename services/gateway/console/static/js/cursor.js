// Reads a chart's points out, by pointer or by keys: a line at one step, the values there, and which line is meant.

import { drawn, element } from "./dom.js";
import { nearest } from "./points.js";
import { elapsed, short } from "./scale.js";

const ROWS_MAX = 8;
const JUMP = 10;

export class Cursor {
  constructor(chart) {
    this.chart = chart;
    // Where it is, as a value of the x axis, and which line is meant; null while it is nowhere.
    this.x = null;
    this.key = null;
    this.shown = [];
    this.marks = drawn("g", { class: "cursor" });
    this.box = element("div", { class: "readout", hidden: true });
    // What a screen reader says; the box changes too often for it.
    this.spoken = element("p", { class: "hidden", "aria-live": "polite" });
    chart.svg.append(this.marks);
    chart.figure.append(this.box, this.spoken);
    chart.svg.addEventListener("pointermove", (event) => this.#point(event));
    chart.svg.addEventListener("pointerdown", (event) => this.#point(event));
    chart.svg.addEventListener("pointerleave", () => this.#leave());
    chart.svg.addEventListener("blur", () => this.#leave());
    chart.svg.addEventListener("keydown", (event) => this.#press(event));
  }

  draw(shown) {
    this.shown = shown;
    if (this.x === null || !shown.length) {
      this.marks.replaceChildren();
      this.box.hidden = true;
      return;
    }
    const found = shown.map((line) => {
      const place = nearest(line.xs, this.x);
      return { line, x: line.xs[place], y: line.ys[place], plain: line.plain[place] };
    });
    const meant = found.find(({ line }) => line.key === this.key) ?? found[0];
    this.#mark(found, meant);
    this.#tell(found, meant);
  }

  #point(event) {
    const { chart } = this;
    if (!chart.plot || !this.shown.length) return;
    const box = chart.svg.getBoundingClientRect();
    const [px, py] = [event.clientX - box.left, event.clientY - box.top];
    this.x = chart.xScale.back(Math.min(1, Math.max(0, (px - chart.plot.left) / chart.plot.width)));
    let best = Infinity;
    for (const line of this.shown) {
      const place = nearest(line.xs, this.x);
      const distance = Math.abs(chart.place(line.xs[place], line.ys[place])[1] - py);
      if (distance < best) [best, this.key] = [distance, line.key];
    }
    chart.light(this.key);
    chart.ask();
  }

  #press(event) {
    const move = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    const turn = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (event.key === "Escape") this.#leave();
    if (!this.shown.length || (move === undefined && turn === undefined)) return;
    event.preventDefault();
    const line = this.#meant(turn ?? 0);
    const at = this.x === null ? line.xs.length - 1 : nearest(line.xs, this.x);
    const place = this.x === null ? at : at + (move ?? 0) * (event.shiftKey ? JUMP : 1);
    this.x = line.xs[Math.min(line.xs.length - 1, Math.max(0, place))];
    this.chart.light(line.key);
    this.chart.ask();
    const y = line.ys[nearest(line.xs, this.x)];
    this.spoken.textContent = `${this.#where(this.x)}: ${line.key} ${short(y)}`;
  }

  #meant(turn) {
    const count = this.shown.length;
    const place = Math.max(0, this.shown.findIndex((line) => line.key === this.key));
    const line = this.shown[(place + turn + count) % count];
    this.key = line.key;
    return line;
  }

  #leave() {
    this.x = this.key = null;
    this.chart.light(null);
    this.chart.ask();
  }

  #where(x) {
    return this.chart.settings.x === "time" ? `after ${elapsed(x)}` : `step ${x}`;
  }

  #mark(found, meant) {
    const { chart } = this;
    const [x] = chart.place(meant.x, 1);
    const dots = found.filter(({ y }) => Number.isFinite(y) && (!chart.settings.isLog || y > 0)).map((each) => {
      const [cx, cy] = chart.place(each.x, each.y);
      return drawn("circle", { cx, cy, r: each === meant ? 4 : 2.5, "data-colour": each.line.front.dataset.colour });
    });
    const { top, height } = chart.plot;
    this.marks.replaceChildren(drawn("line", { x1: x, x2: x, y1: top, y2: top + height }), ...dots);
  }

  #tell(found, meant) {
    const rows = [...found].sort((a, b) => (b === meant) - (a === meant) || b.y - a.y).slice(0, ROWS_MAX);
    const isSmooth = this.chart.settings.smoothing > 0;
    const list = rows.map((each) => {
      const value = isSmooth ? `${short(each.y)} (${short(each.plain)})` : short(each.y);
      const name = found.length > 1 ? ` ${each.line.key}` : "";
      return element("div", { "data-colour": each.line.front.dataset.colour }, element("b", {}, value), name);
    });
    const left = found.length - rows.length;
    if (left) list.push(element("div", { class: "quiet" }, `and ${left} more`));
    this.box.replaceChildren(element("div", { class: "quiet" }, this.#where(meant.x)), ...list);
    this.box.hidden = false;
    const { plot } = this.chart;
    const at = this.chart.place(meant.x, 1)[0];
    const isRight = at > plot.left + plot.width / 2;
    this.box.style.left = isRight ? "auto" : `${at + 14}px`;
    this.box.style.right = isRight ? `${this.chart.svg.clientWidth - at + 14}px` : "auto";
  }
}
