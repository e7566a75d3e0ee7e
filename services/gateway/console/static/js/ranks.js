// The table of a run's ranks: those that are lost or behind first.

import { api, element, repeat } from "./dom.js";

const PERIOD_MS = 3000;
// Of a run that is over, or has no ranks so far, little changes.
const SLOW_MS = 15_000;
// Beyond, the rest is shown when it is asked for.
const ROWS_MAX = 8;
const BEHIND_STEPS = 10;
const ORDER = ["LOST", "FAILED", "KILLED", "RUNNING", "FINISHED"];

let isLong = false;
let latest = [];

// Keeps the table as the server tells, for as long as the page lives. `isRunning` tells whether the run goes on.
export function watchRanks(runId, isRunning) {
  let hasRanks = false;
  repeat(async () => {
    const response = await fetch(api("runs/ranks/list", { run_id: runId })).catch(() => null);
    if (!response?.ok) return;
    const { ranks = [], next_page_token: next } = await response.json();
    hasRanks = ranks.length > 0;
    latest = [ranks, Boolean(next)];
    if (hasRanks) show(...latest);
  }, () => (hasRanks && isRunning() ? PERIOD_MS : SLOW_MS));
}

function show(ranks, hasMore) {
  const first = (rank) => ORDER.indexOf(rank.state);
  const behind = (rank) => rank.steps_behind ?? 0;
  const ordered = [...ranks].sort((a, b) => first(a) - first(b) || behind(b) - behind(a) || a.rank - b.rank);
  const stragglers = ranks.filter((rank) => rank.state === "RUNNING" && behind(rank) >= BEHIND_STEPS).length;
  const counts = ORDER.map((state) => [ranks.filter((rank) => rank.state === state).length, state.toLowerCase()]);
  const words = counts.filter(([count]) => count).map((pair) => pair.join(" "));
  if (stragglers) words.push(`${stragglers} behind`);
  document.getElementById("ranks-summary").textContent = words.join(" · ");
  document.getElementById("ranks").replaceChildren(...(isLong ? ordered : ordered.slice(0, ROWS_MAX)).map(row));
  more(ordered.length, hasMore);
  document.getElementById("ranks-section").hidden = false;
}

function more(count, hasMore) {
  const box = document.getElementById("ranks-more");
  box.hidden = count <= ROWS_MAX;
  const button = box.firstElementChild;
  button.textContent = isLong ? `Show ${ROWS_MAX}` : `Show all ${hasMore ? `of the first ${count}` : count}`;
  button.onclick = () => {
    isLong = !isLong;
    show(...latest);
  };
}

function row(rank) {
  const isBehind = rank.state === "RUNNING" && rank.steps_behind >= BEHIND_STEPS;
  const word = rank.state.toLowerCase();
  const state = element("span", { class: "status", "data-status": word }, word);
  const steps = [rank.last_step ?? "–", rank.steps_behind ?? "–"];
  const cells = [rank.node ?? "", state, ...steps, ago(rank.last_seen_timestamp)];
  return element("tr", { "data-rank": rank.rank, "data-behind": isBehind },
    element("th", { scope: "row" }, `${rank.rank} of ${rank.world_size}`),
    ...cells.map((cell) => element("td", {}, cell instanceof Node ? cell : String(cell))));
}

function ago(ms) {
  const s = Math.max(0, Math.round((Date.now() - ms) / 1000));
  if (s < 120) return `${s} s ago`;
  return s < 7200 ? `${Math.round(s / 60)} min ago` : new Date(ms).toISOString().slice(0, 16).replace("T", " ");
}
