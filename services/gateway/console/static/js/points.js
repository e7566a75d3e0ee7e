// The points of one metric as they come, and what of them is drawn.

// What a page keeps of a metric; beyond, half of it is let go by, the extremes last.
const KEPT_MAX = 16_384;

export class Points {
  constructor() {
    this.forget();
  }

  get length() {
    return this.values.length;
  }

  forget() {
    this.steps = [];
    this.times = [];
    this.values = [];
    // Counts changes, so that whoever draws knows whether there are any.
    this.version = 0;
  }

  add(steps, times, values) {
    const isLater = !this.length || steps[0] >= this.steps.at(-1);
    for (let i = 0; i < values.length; i++) {
      this.steps.push(steps[i]);
      this.times.push(times[i]);
      // JSON has no numbers for these three: they come as the texts NaN, Infinity and -Infinity.
      this.values.push(Number(values[i]));
    }
    if (!isLater) this.#take([...this.values.keys()].sort((a, b) => this.steps[a] - this.steps[b]));
    if (this.length > KEPT_MAX) this.#take(sample(this.steps, this.values, KEPT_MAX / 2));
    this.version += 1;
  }

  #take(places) {
    for (const name of ["steps", "times", "values"]) {
      const column = this[name];
      this[name] = places.map((place) => column[place]);
    }
  }
}

// Returns the places of at most `limit` points that look like all: the first, the last, and of each stretch between
// them the least and the greatest. A stretch of nothing but NaN keeps one, so that the line has its gap.
export function sample(xs, ys, limit) {
  const last = xs.length - 1;
  if (last < limit) return [...xs.keys()];
  const stretches = (limit - 2) >> 1;
  const width = (xs[last] - xs[0]) / stretches || 1;
  const places = [0];
  let [least, greatest, gap, stretch] = [-1, -1, -1, 0];
  const close = () => {
    if (least >= 0) places.push(...(least === greatest ? [least] : [least, greatest].sort((a, b) => a - b)));
    else if (gap >= 0) places.push(gap);
    [least, greatest, gap] = [-1, -1, -1];
  };
  for (let i = 1; i < last; i++) {
    const here = Math.min(stretches - 1, Math.floor((xs[i] - xs[0]) / width));
    if (here !== stretch) close();
    stretch = here;
    if (Number.isNaN(ys[i])) gap = i;
    else {
      if (least < 0 || ys[i] < ys[least]) least = i;
      if (greatest < 0 || ys[i] > ys[greatest]) greatest = i;
    }
  }
  close();
  places.push(last);
  return places;
}

// An exponential moving average that does not lean to its first value; NaN stays a gap and is not averaged in.
export function smooth(ys, weight) {
  let mean = 0;
  let share = 0;
  return ys.map((y) => {
    if (!Number.isFinite(y)) return y;
    mean = weight * mean + (1 - weight) * y;
    share = weight * share + (1 - weight);
    return mean / share;
  });
}

// The place of the point that is nearest to x, in a column that rises.
export function nearest(xs, x) {
  let [low, high] = [0, xs.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (xs[middle] < x) low = middle + 1;
    else high = middle;
  }
  return low > 0 && x - xs[low - 1] < xs[low] - x ? low - 1 : low;
}
