// The system page: asks each service how it is, and keeps the numbers and two lines of them current.

import { api, repeat } from "./dom.js";
import { Spark } from "./spark.js";
import { formats } from "./units.js";

const PERIOD_MS = 2000;
const drawings = [...document.querySelectorAll("svg[data-spark]")];
const sparks = new Map(drawings.map((svg) => [svg.dataset.spark, new Spark(svg)]));

function watch(section) {
  const service = section.dataset.service;
  const fields = [...section.querySelectorAll("[data-field]")];
  repeat(async () => {
    const response = await fetch(api(`status/${service}`)).catch(() => null);
    const status = response?.ok ? await response.json() : null;
    section.dataset.state = status ? "up" : "down";
    tell(section.querySelector(".state"), status ? "answers" : "does not answer");
    if (!status) return;
    for (const field of fields) {
      const value = field.dataset.field.split(".").reduce((found, name) => found?.[name], status);
      const text = value === undefined ? "–" : formats[field.dataset.format ?? "text"](value);
      tell(field, text);
    }
    for (const [name, spark] of sparks) {
      const [owner, field] = name.split(".");
      if (owner === service) spark.add(status[field]);
    }
  }, PERIOD_MS);
}

// Only what is new, so that screen readers do not say the same again.
function tell(place, text) {
  if (place.textContent !== text) place.textContent = text;
}

document.querySelectorAll("[data-service]").forEach(watch);
