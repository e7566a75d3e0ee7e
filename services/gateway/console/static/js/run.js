// The live page of a run: its state, its charts, its parameters and tags, as the server tells of them.

import { Chart } from "./chart.js";
import { api, element } from "./dom.js";
import { follow } from "./events.js";
import { Points } from "./points.js";
import { watchRanks } from "./ranks.js";
import { written } from "./units.js";

const STATES = { open: "Live", waiting: "Connection lost, trying again…", over: "Not followed any more." };
const NOTE_AFTER_MS = 300;
const page = document.getElementById("run");
const settings = settingsOf(new URLSearchParams(location.search));
// By metric, and by what metrics have in common whose names differ in numbers alone.
const metrics = new Map();
const charts = new Map();
let noting;
let isRunning = page.dataset.status === "RUNNING";

const byId = (id) => document.getElementById(id);

function settingsOf(query) {
  return {
    smoothing: Math.min(0.99, Math.max(0, Number(query.get("smoothing")) || 0)),
    isLog: query.get("scale") === "log",
    x: query.get("x") === "time" ? "time" : "step",
    match: query.get("match") ?? "",
    start: Number(page.dataset.start),
  };
}

function family(key) {
  return key.replace(/\d+/g, "*");
}

function pointsOf(key) {
  if (!metrics.has(key)) {
    metrics.set(key, new Points());
    join(key);
  }
  return metrics.get(key);
}

function join(key) {
  const name = family(key);
  if (!charts.has(name)) {
    charts.set(name, new Chart(settings));
    byId("latest").hidden = true;
    byId("no-metrics").hidden = true;
    byId("controls").hidden = false;
    // System metrics come after what people log themselves.
    const isOfSystem = (each) => each.startsWith("system/");
    const order = [...charts.keys()].sort((a, b) => isOfSystem(a) - isOfSystem(b) || a.localeCompare(b));
    const next = charts.get(order[order.indexOf(name) + 1]);
    byId("charts").insertBefore(charts.get(name).figure, next?.figure ?? null);
  }
  const chart = charts.get(name);
  chart.add(key, metrics.get(key));
  chart.title = chart.lines.size > 1 ? name : key;
  chart.figure.hidden = !matches(chart);
}

function matches(chart) {
  const wanted = settings.match.toLowerCase();
  return [...chart.lines.keys()].some((key) => key.toLowerCase().includes(wanted));
}

function tellPoints({ key, steps, timestamps, values, restarted }) {
  const points = pointsOf(key);
  if (restarted) points.forget();
  points.add(steps ?? [], timestamps ?? [], values ?? []);
  charts.get(family(key)).ask();
}

function tellRun(run) {
  isRunning = run.status === "RUNNING";
  settings.start = run.start_time;
  byId("name").textContent = run.run_name;
  byId("status").replaceChildren(status(run.status));
  byId("ended").textContent = run.end_time ? written(run.end_time) : "–";
  document.title = `${run.run_name} · Modelstead`;
  list(byId("params"), run.params ?? []);
  list(byId("tags"), (run.tags ?? []).filter(({ key }) => !key.startsWith("mlflow.")));
}

function status(name) {
  return element("span", { class: "status", "data-status": name.toLowerCase() }, name.toLowerCase());
}

function list(body, pairs) {
  const rows = pairs.sort((a, b) => a.key.localeCompare(b.key)).map(({ key, value }) =>
    element("tr", {}, element("th", { scope: "row" }, key), element("td", {}, value)));
  body.replaceChildren(...rows);
  body.closest("section").querySelector(".nothing").hidden = rows.length > 0;
}

// Keeps the settings in the page's address, for links and reloads. Not at each step of a slider: browsers mind that.
function noteSettings() {
  const { smoothing, isLog, x, match } = settings;
  const wanted = { smoothing: smoothing || "", scale: isLog ? "log" : "", x: x === "time" ? "time" : "", match };
  const query = new URLSearchParams(Object.entries(wanted).filter(([, value]) => value)).toString();
  history.replaceState(null, "", `${location.pathname}${query ? `?${query}` : ""}`);
}

function listen(id, change) {
  const control = byId(id);
  control.addEventListener("input", () => {
    change(control);
    clearTimeout(noting);
    noting = setTimeout(noteSettings, NOTE_AFTER_MS);
    for (const chart of charts.values()) chart.ask();
  });
  return control;
}

function control() {
  const smoothing = listen("smoothing", ({ value }) => {
    settings.smoothing = Number(value);
    byId("smoothing-value").textContent = value;
  });
  smoothing.value = settings.smoothing;
  byId("smoothing-value").textContent = String(settings.smoothing);
  listen("log", ({ checked }) => (settings.isLog = checked)).checked = settings.isLog;
  listen("x", ({ value }) => (settings.x = value)).value = settings.x;
  listen("match", ({ value }) => {
    settings.match = value;
    for (const chart of charts.values()) chart.figure.hidden = !matches(chart);
  }).value = settings.match;
}

control();
watchRanks(page.dataset.run, () => isRunning);
follow(api("runs/watch", { run_id: page.dataset.run }), {
  told(type, value) {
    if (type === "run") tellRun(value.run);
    if (type === "points") tellPoints(value.points);
  },
  state(name, words) {
    byId("feed").dataset.state = name;
    byId("feed").textContent = words ?? STATES[name];
  },
  restarted() {
    for (const points of metrics.values()) points.forget();
  },
});
