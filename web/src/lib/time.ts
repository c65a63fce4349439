// Times and durations as people read them. The clock comes in as a value.

const minute = 60;
const anHour = 60 * minute;
const aDay = 24 * anHour;

/** A duration in its two largest units: "41 s", "12 min", "3 h 20 min", "2 d 4 h". */
export function duration(seconds: number): string {
  const s = Math.max(0, Math.round(seconds));
  if (s < minute) return seconds > 0 && seconds < 1 ? "under 1 s" : `${s} s`;
  if (s < 10 * minute) return s % minute === 0 ? `${s / minute} min` : `${Math.floor(s / minute)} min ${s % minute} s`;
  if (s < anHour) return `${Math.round(s / minute)} min`;
  const pair = (n: number, unit: string, rest: number, small: string) => (rest > 0 ? `${n} ${unit} ${rest} ${small}` : `${n} ${unit}`);
  if (s < aDay) return pair(Math.floor(s / anHour), "h", Math.floor((s % anHour) / minute), "min");
  return pair(Math.floor(s / aDay), "d", Math.floor((s % aDay) / anHour), "h");
}

/** How long ago, in one unit, for what is recent: "just now", "12 s ago", "4 min ago", "3 h ago". */
export function ago(then: Date, now: Date): string {
  const s = Math.round((now.getTime() - then.getTime()) / 1000);
  if (s < -minute) return `in ${one(-s)}`;
  if (s < 5) return "just now";
  return `${one(s)} ago`;
}

/** A duration in its largest unit. */
export function one(s: number): string {
  if (s < minute) return `${Math.max(0, Math.round(s))} s`;
  if (s < anHour) return `${Math.floor(s / minute)} min`;
  if (s < aDay) return `${Math.floor(s / anHour)} h`;
  return `${Math.floor(s / aDay)} d`;
}

/** Whether a time is so near that how long ago it was says more than the hour. */
export function isRecent(then: Date, now: Date): boolean {
  return Math.abs(now.getTime() - then.getTime()) < aDay * 1000;
}

const onDay = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
const atHour = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const atMinute = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const inFull = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

/** The hour and the minute, in the browser's zone. */
export const hour = (t: Date) => atMinute.format(t);
/** The day and the hour, in the browser's zone. */
export const dayAndHour = (t: Date) => onDay.format(t);
/** The hour to the second, in the browser's zone. */
export const clock = (t: Date) => atHour.format(t);
/** Everything: local and UTC, for the hover. */
export const full = (t: Date) => `${inFull.format(t)} · ${t.toISOString().replace("T", " ").replace(/\.\d+Z$/, "Z").replace("Z", " UTC")}`;

const numbers = new Intl.NumberFormat();
const short = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 });

export const count = (n: number) => numbers.format(n);
export const compact = (n: number) => (Math.abs(n) < 10_000 ? numbers.format(n) : short.format(n));

export function bytes(n: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  for (; n >= 1024 && i < units.length - 1; i++) n /= 1024;
  return `${n < 10 && i > 0 ? n.toFixed(1) : Math.round(n)} ${units[i]}`;
}
