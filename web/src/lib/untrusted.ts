// Texts of clusters and agents, with everything in them shown that would otherwise act without being seen.

export type Piece = { text: string; kind: "plain" | "unseen" | "mixed" };

// Controls but tab and line feed, the marks that change the direction of text, what has no width, tags, and variation
// selectors beyond those of emoji.
const unseen = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0e\ufeff\uffa0\ufff9-\ufffb]|[\u{e0000}-\u{e0fff}]/u;
const word = /[\p{L}\p{N}_]+/gu;
const latin = /\p{Script=Latin}/u;
const lookalike = /\p{Script=Cyrillic}|\p{Script=Greek}|\p{Script=Armenian}|\p{Script=Cherokee}/u;

/** A character's code point, as people write it. */
export const codePoint = (c: string) => `U+${c.codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0")}`;

/** Cuts a text into what is plain, what can't be seen, and words that mix alphabets as lookalikes do. */
export function pieces(text: string): Piece[] {
  const found: Piece[] = [];
  let plain = "";
  const flush = () => {
    if (plain) found.push(...words(plain));
    plain = "";
  };
  for (const c of text) {
    if (unseen.test(c)) {
      flush();
      found.push({ text: c, kind: "unseen" });
    } else plain += c;
  }
  flush();
  return found;
}

function words(text: string): Piece[] {
  const found: Piece[] = [];
  let at = 0;
  for (const m of text.matchAll(word)) {
    if (!latin.test(m[0]) || !lookalike.test(m[0])) continue;
    if (m.index > at) found.push({ text: text.slice(at, m.index), kind: "plain" });
    found.push({ text: m[0], kind: "mixed" });
    at = m.index + m[0].length;
  }
  if (at < text.length) found.push({ text: text.slice(at), kind: "plain" });
  return found;
}

/** A link's address if it may be opened at all; only after a person saw it. */
export function openable(href: string): string | undefined {
  try {
    const url = new URL(href);
    return url.protocol === "https:" || url.protocol === "http:" ? url.href : undefined;
  } catch {
    return undefined;
  }
}
