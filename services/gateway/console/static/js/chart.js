// A chart of some lines over steps or time, drawn into SVG: at most once a frame, and only while it can be seen.

import { drawn, element } from "./dom.js";
import { Cursor } from "./cursor.js";
import { sample, smooth } from "./points.js";
import { duration, linear, logarithmic, short } from "./scale.js";

const HEIGHT = 190;
const EDGE = { left: 54, right: 12, top: 8, bottom: 22 };
const DRAWN_MAX = 320;
const COLOURS = 8;
const DASHES = ["", "6 3", "2 3", "8 3 2 3"];

const waiting = new Set();
const seen = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    target.chart.isSeen = isIntersecting;
    target.chart.ask();
  }
}, { rootMargin: "600px" });
const sized = new ResizeObserver((entries) => entries.forEach(({ target }) => target.parentNode.chart.ask()));

function drawAll() {
  const charts = [...waiting];
  waiting.clear();
  for (const chart of charts) chart.draw();
}

export class Chart {
  // `settings` is shared by all charts of a page: `smoothing` 0 to 0.99, `isLog`, `x` "step" or "time", `start` in ms.
  constructor(settings) {
    this.settings = settings;
    this.lines = new Map();
    this.isSeen = false;
    this.grid = drawn("g", { class: "grid" });
    this.raw = drawn("g", { class: "raw" });
    this.front = drawn("g", { class: "front" });
    this.svg = drawn("svg", { height: HEIGHT, tabindex: 0, role: "application", "aria-roledescription": "chart" });
    this.svg.append(this.grid, this.raw, this.front);
    this.name = element("span", { class: "name" });
    this.latest = element("output", { class: "latest" });
    this.legend = element("ul", { class: "legend" });
    this.note = element("p", { class: "quiet note" });
    this.figure = element("figure", { class: "chart" }, element("figcaption", {}, this.name, this.latest), this.svg);
    this.figure.append(this.note, this.legend);
    this.figure.chart = this;
    this.cursor = new Cursor(this);
    seen.observe(this.figure);
    sized.observe(this.svg);
  }

  // Adds the points of a metric; `key` names its line.
  add(key, points) {
    const place = this.lines.size;
    const dashes = DASHES[Math.floor(place / COLOURS) % DASHES.length];
    const look = { "data-colour": place % COLOURS, "stroke-dasharray": dashes };
    const line = { key, points, isHidden: false, front: drawn("path", look), raw: drawn("path", look) };
    this.lines.set(key, line);
    this.front.append(line.front);
    this.raw.append(line.raw);
    if (this.lines.size > 1) this.#list();
    this.ask();
  }

  set title(text) {
    this.name.textContent = text;
    this.name.title = text;
    this.svg.setAttribute("aria-label", `${text}: arrow keys read out points`);
  }

  // Has the chart drawn in the next frame in which it can be seen.
  ask() {
    if (!waiting.size) requestAnimationFrame(drawAll);
    waiting.add(this);
    this.#tellLatest();
  }

  draw() {
    const width = this.svg.clientWidth;
    if (!this.isSeen || !width) return;
    const { left, right, top, bottom } = EDGE;
    this.plot = { left, top, width: width - left - right, height: HEIGHT - top - bottom };
    this.svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    const shown = [...this.lines.values()].filter((line) => !line.isHidden && line.points.length);
    for (const line of shown) this.#prepare(line);
    this.#scale(shown);
    this.#drawGrid();
    for (const line of this.lines.values()) this.#drawLine(line, shown.includes(line));
    this.cursor.draw(shown);
  }

  // Where a point is on the drawing.
  place(x, y) {
    const { left, top, width, height } = this.plot;
    return [left + this.xScale.at(x) * width, top + (1 - this.yScale.at(y)) * height];
  }

  #prepare(line) {
    const { smoothing, x, start } = this.settings;
    const stamp = `${line.points.version} ${smoothing} ${x} ${start}`;
    if (line.stamp === stamp) return;
    line.stamp = stamp;
    const { steps, times, values } = line.points;
    const xs = x === "time" ? times.map((time) => time - start) : steps;
    // Time may go back where steps go on, as in a run that was taken up again.
    const order = x === "time" ? [...xs.keys()].sort((a, b) => xs[a] - xs[b]) : null;
    const [allX, allY] = order ? [order.map((i) => xs[i]), order.map((i) => values[i])] : [xs, values];
    const ys = smoothing ? smooth(allY, smoothing) : allY;
    const places = sample(allX, ys, DRAWN_MAX);
    line.xs = places.map((i) => allX[i]);
    line.ys = places.map((i) => ys[i]);
    line.plain = places.map((i) => allY[i]);
  }

  #scale(shown) {
    const { isLog, x } = this.settings;
    const xs = shown.flatMap((line) => [line.xs[0], line.xs.at(-1)]);
    const ys = shown.flatMap((line) => (this.settings.smoothing ? [...line.ys, ...line.plain] : line.ys));
    const finite = ys.filter((y) => Number.isFinite(y) && (!isLog || y > 0));
    const why = isLog ? "Nothing above zero to show on a log scale." : "Nothing but NaN so far.";
    this.note.textContent = shown.length && !finite.length ? why : "";
    const [low, high] = finite.length ? [min(finite), max(finite)] : [isLog ? 0.1 : 0, 1];
    const across = x === "time" ? duration : linear;
    this.xScale = across(xs.length ? min(xs) : 0, xs.length ? max(xs) : 1, Math.max(2, this.plot.width / 64));
    this.yScale = isLog ? logarithmic(low, high, 5) : padded(low, high);
  }

  #drawGrid() {
    const { left, top, width, height } = this.plot;
    const marks = [];
    for (const [value, text] of this.yScale.ticks) {
      const y = top + (1 - this.yScale.at(value)) * height;
      marks.push(drawn("line", { x1: left, x2: left + width, y1: y, y2: y }));
      marks.push(drawn("text", { x: left - 6, y: y + 4, "text-anchor": "end" }, text));
    }
    for (const [value, text] of this.xScale.ticks) {
      const x = left + this.xScale.at(value) * width;
      marks.push(drawn("line", { x1: x, x2: x, y1: top + height, y2: top + height + 4, class: "tick" }));
      const middle = Math.min(x, left + width - text.length * 3);
      marks.push(drawn("text", { x: middle, y: HEIGHT - 4, "text-anchor": "middle" }, text));
    }
    marks.push(drawn("line", { x1: left, x2: left + width, y1: top + height, y2: top + height, class: "tick" }));
    this.grid.replaceChildren(...marks);
  }

  #drawLine(line, isShown) {
    line.front.setAttribute("d", isShown ? this.#path(line.xs, line.ys) : "");
    line.raw.setAttribute("d", isShown && this.settings.smoothing ? this.#path(line.xs, line.plain) : "");
  }

  // A line with a gap wherever there is no number; a point between two gaps is a dot, by the round cap of its line.
  #path(xs, ys) {
    let path = "";
    let isDown = false;
    for (let i = 0; i < xs.length; i++) {
      const isThere = Number.isFinite(ys[i]) && (!this.settings.isLog || ys[i] > 0);
      if (isThere) {
        const [x, y] = this.place(xs[i], ys[i]);
        path += `${isDown ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}${isDown ? "" : "h0"}`;
      }
      isDown = isThere;
    }
    return path;
  }

  #tellLatest() {
    if (this.lines.size !== 1) {
      this.latest.textContent = `${this.lines.size} lines`;
      return;
    }
    const [{ points }] = this.lines.values();
    this.latest.textContent = points.length ? short(points.values.at(-1)) : "";
    this.latest.dataset.step = points.length ? points.steps.at(-1) : "";
  }

  #list() {
    const entries = [...this.lines.values()].map((line, place) => {
      const look = { "data-colour": place % COLOURS, "aria-pressed": String(!line.isHidden), title: line.key };
      const button = element("button", { type: "button", ...look }, line.key);
      button.addEventListener("click", () => {
        line.isHidden = !line.isHidden;
        button.setAttribute("aria-pressed", String(!line.isHidden));
        this.ask();
      });
      button.addEventListener("pointerenter", () => this.light(line.key));
      button.addEventListener("pointerleave", () => this.light(null));
      return element("li", {}, button);
    });
    this.legend.replaceChildren(...entries);
  }

  // Lets one line stand out of many; null lets none.
  light(key) {
    this.svg.toggleAttribute("data-lit", key !== null && this.lines.size > 1);
    for (const line of this.lines.values()) line.front.toggleAttribute("data-lit", line.key === key);
    const lit = key !== null && this.lines.get(key);
    if (lit) this.front.append(lit.front);
  }
}

function padded(low, high) {
  const pad = (high - low) * 0.04;
  return linear(low - pad, high + pad, 5);
}

function min(values) {
  return values.reduce((least, value) => (value < least ? value : least), Infinity);
}

function max(values) {
  return values.reduce((greatest, value) => (value > greatest ? value : greatest), -Infinity);
}
