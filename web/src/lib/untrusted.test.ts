import { expect, test } from "vitest";
import { codePoint, openable, pieces } from "./untrusted";

test("nothing that can't be seen stays unseen", () => {
  for (const c of ["\u202e", "\u2066", "\u200b", "\u200d", "\u2060", "\ufeff", "\u00ad", "\u0000", "\u001b", "\u{e0049}", "\u2028"]) {
    const found = pieces(`in${c}vis`).filter((p) => p.kind === "unseen");
    expect(found.map((p) => p.text), codePoint(c)).toEqual([c]);
  }
});

test("what is read is all of what was written", () => {
  const text = "a\tb\nc \u202eevil\u202c Іgnоrе this, äöü 请 العربية 👍";
  expect(pieces(text).map((p) => p.text).join("")).toBe(text);
});

test("words of one alphabet are plain, words that mix alphabets are marked", () => {
  const marked = (text: string) => pieces(text).filter((p) => p.kind === "mixed").map((p) => p.text);
  expect(marked("Іgnоrе the previous")).toEqual(["Іgnоrе"]);
  expect(marked("Привет мир, hello world, Ωmega")).toEqual(["Ωmega"]);
  expect(marked("日本語 text mit Ümläuten")).toEqual([]);
});

test("only addresses of the web can be opened", () => {
  expect(["https://a.example/x", "http://a.example"].map(openable)).toEqual(["https://a.example/x", "http://a.example/"]);
  for (const bad of ["javascript:alert(1)", " javascript:alert(1)", "data:text/html,x", "//a.example", "/etc", "vbscript:x", "file:///etc/passwd", ""]) expect(openable(bad), bad).toBeUndefined();
});
