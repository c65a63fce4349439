// How an incident is told: its entries in order, repeats folded, and what proves how it ended.
import type { Delivery, IncidentDetail, LogEntry, TimelineEntry } from "../api/client";

export type Density = "story" | "line" | "all";

export type Step =
  | { kind: "entry"; at: string; entry: TimelineEntry }
  | { kind: "fold"; at: string; until: string; entries: TimelineEntry[] }
  | { kind: "log"; at: string; entry: LogEntry; deliveryId: string };

/** What is shown of a time line. Nothing is left out for good: a fold has all that is in it. */
export function steps(timeline: TimelineEntry[], logs: { id: string; log: LogEntry[] }[], density: Density): Step[] {
  const all: Step[] = timeline.map((entry) => ({ kind: "entry", at: entry.at, entry }));
  for (const { id, log } of logs) {
    for (const entry of log) {
      if (density === "all" || entry.kind === "tool-call" || entry.kind === "question" || entry.kind === "reply" || entry.kind === "person") all.push({ kind: "log", at: entry.at, entry, deliveryId: id });
    }
  }
  all.sort((a, b) => a.at.localeCompare(b.at));
  if (density === "all") return all;
  return fold(all, density === "story" ? isNoise : isRepeat);
}

const isRepeat = (s: Step) => s.kind === "entry" && s.entry.kind === "event" && s.entry.event?.status === "duplicate";
const isNoise = (s: Step) => isRepeat(s) || (s.kind === "entry" && s.entry.kind === "decision" && s.entry.decision !== undefined && ["duplicate", "grouped"].includes(s.entry.decision.disposition));

function fold(all: Step[], noise: (s: Step) => boolean): Step[] {
  const out: Step[] = [];
  for (const s of all) {
    if (!noise(s) || s.kind !== "entry") {
      out.push(s);
      continue;
    }
    const last = out.at(-1);
    if (last?.kind === "fold") {
      last.entries.push(s.entry);
      last.until = s.at;
    } else out.push({ kind: "fold", at: s.at, until: s.at, entries: [s.entry] });
  }
  return out.map((s) => (s.kind === "fold" && s.entries.length === 1 ? { kind: "entry", at: s.at, entry: s.entries[0]! } : s));
}

export type Verdict = "recovered" | "relapsed" | "persisting" | "unknown" | "watching" | "open" | "self" | "quiet" | "gone";

/** What can be claimed of how an incident ended, and no more. */
export function verdict(incident: Pick<IncidentDetail, "status" | "resolution">, delivery: Delivery | undefined): Verdict {
  if (delivery && delivery.attempt > 0) {
    if (delivery.outcome) return delivery.outcome;
    if (delivery.verifyUntil) return "watching";
  }
  if (incident.status === "firing") return "open";
  if (incident.resolution === "quiet") return "quiet";
  if (incident.resolution === "gone") return "gone";
  return delivery && delivery.attempt > 0 ? "watching" : "self";
}

/** The incident as Markdown, for a ticket. Texts of others go into code, where nothing in them acts. */
export function asMarkdown(i: IncidentDetail, address: string, told: (e: TimelineEntry) => string): string {
  const code = (text: string) => {
    const fence = "`".repeat(Math.max(1, ...[...text.matchAll(/`+/g)].map((m) => m[0].length + 1)));
    const one = text.replace(/\s+/g, " ");
    return fence.length === 1 ? `\`${one}\`` : `${fence} ${one} ${fence}`;
  };
  const lines = [
    `## ${i.eventType} of ${i.namespace}/${i.workload.name}`,
    "",
    `- Incident: ${address}`,
    `- Resource: ${i.resourceKind} ${code(`${i.namespace}/${i.resourceName}`)}${i.container ? `, container ${code(i.container)}` : ""}`,
    `- Reason: ${code(i.reason)}: ${code(i.message)}`,
    `- First seen ${i.firstSeen}, events ${i.events}, ${i.status === "firing" ? "still open" : `ended ${i.resolvedAt ?? ""} (${i.resolution ?? ""})`}`,
    "",
    "| time | what |",
    "| --- | --- |",
    ...i.timeline.map((e) => `| ${e.at} | ${code(told(e)).replace(/\|/g, "\\|")} |`),
  ];
  for (const d of i.deliveries) {
    lines.push("", `### ${d.agent.namespace}/${d.agent.name}: ${d.outcome ?? d.state}`);
    if (d.answer) {
      const fence = "`".repeat(Math.max(3, ...[...d.answer.matchAll(/`+/g)].map((m) => m[0].length + 1)));
      lines.push("", `${fence}text`, d.answer, fence);
    }
  }
  return `${lines.join("\n")}\n`;
}
