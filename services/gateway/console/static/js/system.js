// The system page: asks each service how it is, and keeps the numbers and two lines of them current.

import { api, repeat } from "./dom.js";
import { Spark } from "./spark.js";
import { formats } from "./units.js";

const PERIOD_MS = 2000;
const sparks = new Map([...document.querySelectorAll("svg[data-spark]")].map((svg) => [svg.dataset.spark, new Spark(svg)]));

function watch(section) {
  const service = section.dataset.service;
  const fields = [...section.querySelectorAll("[data-field]")];
  repeat(async () => {
    const response = await fetch(api(`status/${service}`)).catch(() => null);
    const status = response?.ok ? await response.json() : null;
    section.dataset.state = status ? "up" : "down";
    section.querySelector(".state").textContent = status ? "answers" : "does not answer";
    if (!status) return;
    for (const field of fields) {
      const value = field.dataset.field.split(".").reduce((found, name) => found?.[name], status);
      const text = value === undefined ? "–" : formats[field.dataset.format ?? "text"](value);
      if (field.textContent !== text) field.textContent = text;
    }
    for (const [name, spark] of sparks) {
      const [owner, field] = name.split(".");
      if (owner === service) spark.add(status[field]);
    }
  }, PERIOD_MS);
}

document.querySelectorAll("[data-service]").forEach(watch);
