// The one place where text becomes elements: pages of this server, which escapes whatever it shows. The policy of the
// console's pages (require-trusted-types-for) lets nothing else do so.

const policy = globalThis.trustedTypes?.createPolicy("modelstead", { createHTML: (text) => text });

/** The viewer's session is over: the server led to the page to sign in at. */
export class SignedOut extends Error {}

/** Fetch a page of this console and return its document; null if the server cannot make it. Throws SignedOut. */
export async function fetchPage(address) {
  const answer = await fetch(address);
  if (answer.redirected) {
    throw new SignedOut();
  }
  if (!answer.ok) {
    return null;
  }
  const text = await answer.text();
  return new DOMParser().parseFromString(policy ? policy.createHTML(text) : text, "text/html");
}
