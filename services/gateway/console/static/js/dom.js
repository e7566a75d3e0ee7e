// Makes elements. Texts stay texts: the page's policy takes no strings of HTML.

const SVG = "http://www.w3.org/2000/svg";

export function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

export function drawn(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== undefined && child !== null));
  return made;
}

// The address of the gateway's API, wherever the gateway is mounted.
export function api(path, values = {}) {
  const query = new URLSearchParams(values).toString();
  return `${document.documentElement.dataset.root}/api/2.0/mlflow/${path}${query ? `?${query}` : ""}`;
}

// Calls `work` at once and then each `period_ms` after it has ended, while the page can be seen.
export function repeat(work, period_ms) {
  const round = async () => {
    if (!document.hidden) await work();
    setTimeout(round, typeof period_ms === "function" ? period_ms() : period_ms);
  };
  round();
}
