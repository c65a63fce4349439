import { expect, test } from "vitest";
import type { Delivery, IncidentDetail, TimelineEntry } from "../api/client";
import { asMarkdown, steps, verdict } from "./story";

const event = (at: string, status: string): TimelineEntry => ({ at: `2026-01-15T10:0${at}Z`, kind: "event", text: "it failed", event: { status } as TimelineEntry["event"] });

test("repeats are folded, and everything is in the fold", () => {
  const timeline = [event("0:00", "firing"), event("1:00", "duplicate"), event("2:00", "duplicate"), event("3:00", "duplicate"), { at: "2026-01-15T10:04:00Z", kind: "resolution", text: "healthy" } as TimelineEntry];
  const kinds = (d: "story" | "line" | "all") => steps(timeline, [], d).map((s) => (s.kind === "fold" ? `fold of ${s.entries.length}` : s.kind));
  expect(kinds("story")).toEqual(["entry", "fold of 3", "entry"]);
  expect(kinds("all")).toEqual(["entry", "entry", "entry", "entry", "entry"]);
});

test("what the agent did is between what happened, in the order of time", () => {
  const log = [{ at: "2026-01-15T10:00:30Z", kind: "tool-call", name: "get_logs" }, { at: "2026-01-15T10:00:40Z", kind: "message", text: "looking" }] as never[];
  const told = (d: "story" | "all") => steps([event("0:00", "firing"), event("1:00", "resolved")], [{ id: "d", log }], d).map((s) => (s.kind === "log" ? s.entry.kind : s.kind));
  expect(told("story")).toEqual(["entry", "tool-call", "entry"]);
  expect(told("all")).toEqual(["entry", "tool-call", "message", "entry"]);
});

const called = (more: Partial<Delivery>) => ({ attempt: 1, ...more }) as Delivery;

test.each([
  ["an outcome is what was decided", { status: "resolved", resolution: "recovered" }, called({ outcome: "persisting" }), "persisting"],
  ["before the end of the window nothing is claimed", { status: "resolved", resolution: "recovered" }, called({ verifyUntil: "2026-01-15T10:10:00Z" }), "watching"],
  ["while it fails there is nothing to prove", { status: "firing" }, called({}), "open"],
  ["gone proves nothing", { status: "resolved", resolution: "gone" }, undefined, "gone"],
  ["silence proves nothing", { status: "resolved", resolution: "quiet" }, called({}), "quiet"],
  ["who was never called healed nothing", { status: "resolved", resolution: "recovered" }, { attempt: 0, outcome: "recovered" } as Delivery, "self"],
] as const)("%s", (_name, incident, delivery, want) => {
  expect(verdict(incident, delivery)).toBe(want);
});

test("in a ticket, texts of others can't become markup", () => {
  const i = {
    eventType: "oom-kill", namespace: "shop", workload: { kind: "Deployment", name: "cart" }, resourceKind: "Pod", resourceName: "cart-1", reason: "OOMKilled", message: "`x` | <b>@everyone</b>\n# title", firstSeen: "t", events: 1, status: "firing",
    timeline: [{ at: "t", kind: "event", text: "a | b\n- c" }], deliveries: [{ agent: { namespace: "kagent", name: "medic" }, state: "succeeded", answer: "````\n# not a title\n````" }],
  } as unknown as IncidentDetail;
  const text = asMarkdown(i, "http://khook/incidents/1", (e) => e.text);
  expect(text).toContain("`` `x` | <b>@everyone</b> # title ``");
  expect(text).toContain("`a \\| b - c`");
  expect(text).toContain("`````text\n````\n# not a title\n````\n`````");
});
