// Follows server-sent events for as long as the page lives. By fetch and not by EventSource: that one gives up at the
// first answer that is an error, and forgets where it was.

const RETRY_MS = 500;
const RETRY_MS_MAX = 15_000;
// The server says something at least each 15 seconds; a connection that says nothing for so long is not one.
const SILENCE_MS_MAX = 45_000;
const GONE = new Set([401, 403, 404]);

// Calls `told(type, value)` for each event and `state(name, words)` as the connection is "open", "waiting" or "over".
// What breaks off goes on after the newest event; `restarted()` says that it begins anew instead. Ends when it is over.
export async function follow(url, { told, state, restarted }) {
  const place = { id: "" };
  for (let wait = RETRY_MS; ; wait = Math.min(2 * wait, RETRY_MS_MAX)) {
    try {
      const response = await connect(url, place.id);
      if (response.ok) {
        state("open");
        wait = RETRY_MS;
        await read(response, place, told);
      } else if (GONE.has(response.status) || (response.status === 400 && !place.id)) {
        state("over", (await response.json().catch(() => ({}))).message ?? `Status ${response.status}.`);
        return;
      } else if (response.status === 400) {
        place.id = "";
        restarted();
      }
    } catch (error) {
      // Whatever broke the connection, it is made again; what is wrong with an event is ours to know.
      if (!(error instanceof TypeError || error instanceof DOMException)) throw error;
    }
    state("waiting");
    await new Promise((resume) => setTimeout(resume, wait * (0.5 + Math.random())));
  }
}

async function connect(url, id) {
  const silence = new AbortController();
  const response = await fetch(url, {
    headers: id ? { "Last-Event-ID": id } : {},
    cache: "no-store",
    signal: silence.signal,
  });
  response.silence = silence;
  return response;
}

async function read(response, place, told) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let timer;
  try {
    for (;;) {
      timer = setTimeout(() => response.silence.abort(), SILENCE_MS_MAX);
      const { value, done } = await reader.read();
      clearTimeout(timer);
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) tell(block, place, told);
    }
  } finally {
    clearTimeout(timer);
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
