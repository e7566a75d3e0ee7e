// Follows server-sent events for as long as the page lives. By fetch and not by EventSource: that one gives up at the
// first answer that is an error, and forgets where it was.

const RETRY_MS = 500;
const RETRY_MS_MAX = 15_000;
// The server says something at least each 15 seconds; a connection that says nothing for so long is not one.
const SILENCE_MS_MAX = 45_000;
const REFUSALS = new Set([400, 401, 403, 404]);

// Calls `told(type, value)` for each event and `state(name, words)` as the connection is "open", "waiting" or "over".
// What breaks off goes on after the newest event; `restarted()` says that it begins anew instead. Ends when it is over.
export async function follow(url, { told, state, restarted }) {
  const place = { id: "" };
  for (let wait = RETRY_MS; ; wait = Math.min(2 * wait, RETRY_MS_MAX)) {
    const silence = new AbortController();
    const response = await connect(url, place.id, silence.signal);
    if (response?.ok) {
      state("open");
      wait = RETRY_MS;
      for await (const block of blocks(response, silence)) tell(block, place, told);
    } else if (response?.status === 400 && place.id) {
      place.id = "";
      restarted();
    } else if (response && REFUSALS.has(response.status)) {
      state("over", (await response.json().catch(() => ({}))).message ?? `Status ${response.status}.`);
      return;
    }
    state("waiting");
    await new Promise((resume) => setTimeout(resume, wait * (0.5 + Math.random())));
  }
}

// Returns the answer; null if there is none to be had.
function connect(url, id, signal) {
  const headers = id ? { "Last-Event-ID": id } : {};
  return fetch(url, { headers, cache: "no-store", signal }).catch(() => null);
}

// Yields what stands between empty lines, until the connection ends or is silent for too long.
async function* blocks(response, silence) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const timer = setTimeout(() => silence.abort(), SILENCE_MS_MAX);
    const { value, done } = await reader.read().catch(() => ({ done: true }));
    clearTimeout(timer);
    if (done) return;
    const found = (rest + value).split("\n\n");
    rest = found.pop();
    yield* found;
  }
}

function tell(block, place, told) {
  const fields = {};
  for (const line of block.split("\n")) {
    const colon = line.indexOf(": ");
    if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 2);
  }
  if (fields.data === undefined) return;
  told(fields.event, JSON.parse(fields.data));
  // Only now: what was not taken in is told again.
  place.id = fields.id || place.id;
}
