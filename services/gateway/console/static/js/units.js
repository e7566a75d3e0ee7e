// Numbers as people read them; services/gateway/console/units.py writes the same for pages without scripts.

const SIZES = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

function number(value) {
  return Math.round(value).toString().replace(/\B(?=(\d{3})+$)/g, "\u202f");
}

function bytes(value) {
  let place = 0;
  for (; value >= 1024 && place < SIZES.length - 1; place++) value /= 1024;
  return `${place ? value.toFixed(1) : Math.round(value)} ${SIZES[place]}`;
}

function lag(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const s = Math.floor(ms / 1000);
  if (s < 120) return `${s} s`;
  return s < 7200 ? `${Math.floor(s / 60)} min` : `${Math.floor(s / 3600)} h`;
}

function moment(text) {
  return `${text.slice(0, 19).replace("T", " ")} UTC`;
}

/** A time of the API, which may be one that no calendar reaches. */
export function written(ms) {
  const at = new Date(ms);
  return Number.isNaN(at.valueOf()) ? `${ms} ms` : moment(at.toISOString());
}

export const formats = {
  text: String,
  number,
  bytes,
  lag,
  moment,
  rate: (value) => `${bytes(value)}/s`,
  yes: (value) => (value ? "yes" : "no"),
};
