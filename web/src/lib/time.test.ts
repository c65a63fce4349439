import { expect, test } from "vitest";
import { ago, bytes, duration } from "./time";

test("durations are told in at most two units", () => {
  const told = [0, 0.4, 41, 60, 90, 754, 3600, 12_000, 90_000, 700_000].map(duration);
  expect(told).toEqual(["0 s", "under 1 s", "41 s", "1 min", "1 min 30 s", "13 min", "1 h", "3 h 20 min", "1 d 1 h", "8 d 2 h"]);
});

test("what is recent is told by how long ago it was, what is to come by when", () => {
  const now = new Date("2026-01-15T10:00:00Z");
  const told = ["10:00:00", "09:59:40", "09:48:10", "07:00:00", "10:05:00"].map((t) => ago(new Date(`2026-01-15T${t}Z`), now));
  expect(told).toEqual(["just now", "20 s ago", "11 min ago", "3 h ago", "in 5 min"]);
});

test("sizes have a unit that people read", () => {
  expect([0, 512, 2048, 5_400_000, 3e10].map(bytes)).toEqual(["0 B", "512 B", "2.0 KiB", "5.1 MiB", "28 GiB"]);
});
