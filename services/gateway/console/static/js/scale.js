// Axes: from values to parts of a length, and the ticks between.

const SECONDS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400];

// Each scale has `at(value)`, 0 at its low end and 1 at its high one, and `ticks`: [value, text].

export function linear(low, high, count) {
  const [from, to] = widened(low, high);
  const step = niceStep((to - from) / count);
  const digits = Math.max(0, -Math.floor(Math.log10(step)));
  const ticks = multiples(from, to, step).map((value) => [value, tickText(value, digits)]);
  return { at: (value) => (value - from) / (to - from), back: (part) => from + part * (to - from), ticks };
}

export function logarithmic(low, high, count) {
  const pad = low === high ? 0.5 : 0;
  const [from, to] = [Math.log10(low) - pad, Math.log10(high) + pad];
  const at = (value) => (Math.log10(value) - from) / (to - from);
  let ticks = multiples(from, to, Math.max(1, Math.ceil((to - from) / count))).map((power) => 10 ** power);
  // Less than two powers of ten in sight: then 1, 2 and 5 of each.
  if (ticks.length < 2) {
    const powers = multiples(Math.floor(from), to, 1);
    ticks = powers.flatMap((power) => [1, 2, 5].map((lead) => lead * 10 ** power));
    ticks = ticks.filter((value) => at(value) >= 0 && at(value) <= 1);
  }
  return { at, ticks: ticks.map((value) => [value, short(value)]) };
}

// Of milliseconds since a beginning.
export function duration(low, high, count) {
  const [from, to] = widened(low / 1000, high / 1000);
  const wanted = (to - from) / count;
  const whole = () => SECONDS.find((each) => each >= wanted) ?? 86_400 * niceStep(wanted / 86_400);
  const step = wanted < 1 ? niceStep(wanted) : whole();
  const ticks = multiples(from, to, step).map((value) => [value * 1000, elapsed(value * 1000)]);
  const back = (part) => 1000 * (from + part * (to - from));
  return { at: (value) => (value / 1000 - from) / (to - from), back, ticks };
}

// A number as people read it: four digits that count.
export function short(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value) || value === 0) return String(value).replace("Infinity", "∞");
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-3) return value.toExponential(3).replace(/\.?0+e/, "e").replace("e+", "e");
  return String(Number(value.toPrecision(size >= 1000 ? 7 : 4)));
}

export function elapsed(ms) {
  const s = ms / 1000;
  if (Math.abs(s) < 60) return `${Number(s.toFixed(2))} s`;
  const whole = Math.round(s);
  const [d, h] = [Math.floor(whole / 86_400), Math.floor(whole / 3600) % 24];
  const [min, sec] = [Math.floor(whole / 60) % 60, whole % 60];
  const parts = [d && `${d} d`, h && `${h} h`, min && `${min} min`, sec && !d && `${sec} s`].filter(Boolean);
  return parts.slice(0, 2).join(" ") || "0 s";
}

function widened(low, high) {
  if (low < high) return [low, high];
  const pad = Math.abs(low) * 0.05 || 0.5;
  return [low - pad, high + pad];
}

function niceStep(wanted) {
  const power = 10 ** Math.floor(Math.log10(wanted));
  return power * [1, 2, 5, 10].find((lead) => lead * power >= wanted * 0.999);
}

function multiples(from, to, step) {
  const found = [];
  for (let i = Math.ceil(from / step - 1e-9); i * step <= to + step * 1e-9 && found.length < 50; i++) {
    found.push(i * step);
  }
  return found;
}

function tickText(value, digits) {
  const size = Math.abs(value);
  if (size >= 1e6 || (size && digits > 4)) return short(value);
  return value.toFixed(Math.min(digits, 6));
}
