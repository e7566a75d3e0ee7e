// The one place where text becomes elements: pages of this server, which escapes whatever it shows. The policy of the
// console's pages (require-trusted-types-for) lets nothing else do so.

const policy = globalThis.trustedTypes?.createPolicy("modelstead", { createHTML: (text) => text });

/** Fetch a page of this console and return its document; null if it is not to be had as it was asked for. */
export async function fetchPage(address, signal) {
  const answer = await fetch(address, { headers: { accept: "text/html" }, signal });
  if (!answer.ok || new URL(answer.url).pathname !== new URL(address, location.href).pathname) {
    return null;
  }
  const text = await answer.text();
  return new DOMParser().parseFromString(policy ? policy.createHTML(text) : text, "text/html");
}
