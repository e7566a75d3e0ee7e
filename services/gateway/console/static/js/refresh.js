// Keeps a page as the registry is: an element with `data-watch-models`, a JSON list of names, is fetched anew whenever
// one of these models changes, and replaced. What the viewer has begun to fill in is left alone.

import { fetchPage } from "./html.js";

const SETTLE_MS = 150;
const BUSY_MS = 2000;

const watched = document.querySelector("[data-watch-models]");
let timer = 0;

function watch(names) {
  const query = new URLSearchParams(names.map((name) => ["names", name]));
  const root = document.documentElement.dataset.root;
  const source = new EventSource(`${root}/ajax-api/2.0/mlflow/registered-models/watch?${query}`);
  // At the beginning it tells what each model stands at: the page may be older than that.
  source.addEventListener("model", () => soon(SETTLE_MS));
}

function soon(delay_ms) {
  clearTimeout(timer);
  timer = setTimeout(refresh, delay_ms);
}

async function refresh() {
  const shown = document.getElementById(watched.id);
  if (isBusy(shown)) {
    soon(BUSY_MS);
    return;
  }
  const page = await fetchPage(location.href).catch(() => null);
  const fresh = page?.getElementById(watched.id);
  if (!fresh || isBusy(shown) || fresh.isEqualNode(shown)) {
    return;
  }
  const focus = placeOf(document.activeElement, shown);
  const rows = new Set([...shown.querySelectorAll("tr, article, li")].map((row) => row.textContent));
  shown.replaceWith(document.adoptNode(fresh));
  fresh.querySelectorAll("tr, article, li").forEach((row) => row.classList.toggle("fresh", !rows.has(row.textContent)));
  focus?.(fresh);
}

/** Whether the viewer is filling in a form, or has opened or marked something that would be lost. */
function isBusy(shown) {
  const fields = [...shown.querySelectorAll("input:not([type=hidden]), textarea, select")];
  const isChanged = fields.some((field) =>
    field.type === "checkbox" ? field.checked !== field.defaultChecked
      : field.options ? [...field.options].some((option) => option.selected !== option.defaultSelected && option.index > 0)
      : field.value !== field.defaultValue,
  );
  const selection = getSelection();
  const isMarked = !selection.isCollapsed && shown.contains(selection.anchorNode);
  return isChanged || isMarked || fields.includes(document.activeElement);
}

/** Return what gives the focus back to the element that stands where the one that had it stood. */
function placeOf(element, within) {
  if (!element || !within.contains(element)) {
    return null;
  }
  const address = element.getAttribute("href");
  const selector = element.id ? `#${CSS.escape(element.id)}` : address ? `a[href="${CSS.escape(address)}"]` : null;
  return selector ? (fresh) => fresh.querySelector(selector)?.focus() : null;
}

if (watched) {
  const names = JSON.parse(watched.dataset.watchModels);
  if (names.length > 0) {
    watch(names);
  }
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && soon(0));
}
