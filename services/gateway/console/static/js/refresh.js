// Keeps a page as the registry is: an element with `data-watch-models`, a JSON list of names, is fetched anew whenever
// one of these models changes, and replaced. What the viewer has begun to fill in is left alone.

import { SignedOut, fetchPage } from "./html.js";

const SETTLE_MS = 150;
const BUSY_MS = 2000;
const RETRY_MS = 5000;

const watched = document.querySelector("[data-watch-models]");
let timer = 0;

function watch(names) {
  const query = new URLSearchParams(names.map((name) => ["names", name]));
  const root = document.documentElement.dataset.root;
  const source = new EventSource(`${root}/ajax-api/2.0/mlflow/registered-models/watch?${query}`);
  // At the beginning it tells what each model stands at: the page may be older than that.
  source.addEventListener("model", () => soon(SETTLE_MS));
  source.addEventListener("error", () => {
    // It comes back by itself from a connection that broke, but not from an answer that refused it.
    if (source.readyState === EventSource.CLOSED) {
      soon(0);
      setTimeout(watch, RETRY_MS, names);
    }
  });
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
  const fresh = (await fetched())?.getElementById(watched.id);
  if (!fresh || isBusy(shown) || fresh.isEqualNode(shown)) {
    return;
  }
  const focus = placeOf(document.activeElement, shown);
  const known = new Set(rowsOf(shown).map(timeless));
  shown.replaceWith(document.adoptNode(fresh));
  rowsOf(fresh).filter((row) => !known.has(timeless(row))).forEach((row) => row.classList.add("fresh"));
  focus?.(fresh);
}

function rowsOf(element) {
  return [...element.querySelectorAll("tr, article, li")];
}

/** Return a row's text without how long ago things were, which changes by itself. */
function timeless(row) {
  return [...row.querySelectorAll("time")].reduce((text, time) => text.replace(time.textContent, ""), row.textContent);
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

async function fetched() {
  try {
    return await fetchPage(location.href);
  } catch (error) {
    if (error instanceof SignedOut) {
      location.reload();
    }
    // What the network lost comes with the next change.
    return null;
  }
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
