// The small parts that every page is made of.
import { useEffect, useId, useRef, useState, useSyncExternalStore, type ReactNode } from "react";
import { Link } from "wouter";
import { Problem } from "../api/client";
import { ago, clock, dayAndHour, duration, full, isRecent } from "../lib/time";
import { codePoint, pieces } from "../lib/untrusted";
import { words } from "../words";

// --- the clock ---------------------------------------------------------------------------------------------------

const tickers = new Set<() => void>();
let now = Date.now();
let timer: ReturnType<typeof setInterval> | undefined;

function subscribeClock(tick: () => void) {
  tickers.add(tick);
  timer ??= setInterval(() => {
    now = Date.now();
    for (const t of tickers) t();
  }, 5000);
  return () => {
    tickers.delete(tick);
    if (tickers.size === 0) {
      clearInterval(timer);
      timer = undefined;
    }
  };
}

/** The time, to a few seconds. */
export function useNow(): Date {
  return new Date(useSyncExternalStore(subscribeClock, () => now));
}

/** A moment: relative while it is recent, and with the whole time in local and UTC on hover. */
export function Time({ at, exact }: { at: string | undefined; exact?: boolean }) {
  const current = useNow();
  if (!at) return <span className="dim">{words.none}</span>;
  const then = new Date(at);
  const text = exact ? clock(then) : isRecent(then, current) ? ago(then, current) : dayAndHour(then);
  return (
    <time dateTime={at} title={full(then)}>
      {text}
    </time>
  );
}

/** How long something took, or takes until now. */
export function Took({ from, to }: { from: string | undefined; to?: string | undefined }) {
  const current = useNow();
  if (!from) return <span className="dim">{words.none}</span>;
  const end = to ? new Date(to) : current;
  return <span className="num">{duration((end.getTime() - new Date(from).getTime()) / 1000)}</span>;
}

// --- texts of others ---------------------------------------------------------------------------------------------

/** A text of the cluster or of an agent: never markup, and with all shown that can't be seen. */
export function Untrusted({ text }: { text: string }) {
  return (
    <bdi className="untrusted">
      {pieces(text).map((p, i) => {
        if (p.kind === "plain") return p.text;
        if (p.kind === "unseen")
          return (
            <span key={i} className="unseen" title={words.unseen(codePoint(p.text))}>
              {codePoint(p.text)}
            </span>
          );
        return (
          <span key={i} className="mixed" title={words.mixed}>
            {p.text}
          </span>
        );
      })}
    </bdi>
  );
}

const quoted = /⟦[^⟧]*⟧/g;

/** A prompt: what is data of the cluster in it is marked. */
export function Prompt({ text }: { text: string }) {
  const parts: ReactNode[] = [];
  let at = 0;
  for (const m of text.matchAll(quoted)) {
    parts.push(<Untrusted key={at} text={text.slice(at, m.index)} />);
    parts.push(
      <mark key={`m${m.index}`} className="data">
        <Untrusted text={m[0]} />
      </mark>,
    );
    at = m.index + m[0].length;
  }
  parts.push(<Untrusted key="rest" text={text.slice(at)} />);
  return <pre className="prompt" tabIndex={0}>{parts}</pre>;
}

// --- marks -------------------------------------------------------------------------------------------------------

export type Tone = "bad" | "busy" | "wait" | "good" | "quiet" | "plain";

const shapes: Record<Tone, ReactNode> = {
  bad: <path d="M8 2.2 14.2 13H1.8z" />,
  busy: <path d="M8 2.5a5.5 5.5 0 1 1-5.2 3.7" fill="none" stroke="currentColor" strokeWidth="2.2" strokeLinecap="round" />,
  wait: <path d="M8 1.8 14.2 8 8 14.2 1.8 8z" />,
  good: <path d="m3 8.4 3.2 3.2L13 4.6" fill="none" stroke="currentColor" strokeWidth="2.2" strokeLinecap="round" strokeLinejoin="round" />,
  quiet: <path d="M3 8h10" fill="none" stroke="currentColor" strokeWidth="2.2" strokeLinecap="round" />,
  plain: <circle cx="8" cy="8" r="3.4" />,
};

/** A state: a colour, a shape and a word, so that none of them is needed alone. */
export function Mark({ tone, children }: { tone: Tone; children: ReactNode }) {
  return (
    <span className={`mark ${tone}`}>
      <svg viewBox="0 0 16 16" aria-hidden="true" fill="currentColor">
        {shapes[tone]}
      </svg>
      <span>{children}</span>
    </span>
  );
}

const stateTones: Record<string, Tone> = { pending: "plain", calling: "busy", working: "busy", "input-required": "wait", succeeded: "good", failed: "bad", rejected: "bad", canceled: "quiet", expired: "bad" };
const outcomeTones: Record<string, Tone> = { recovered: "good", relapsed: "bad", persisting: "bad", unknown: "quiet" };

export function DeliveryState({ d }: { d: { state: string; stalledSince?: string } }) {
  if (d.stalledSince) return <Mark tone="wait">{words.kinds.stalled}</Mark>;
  return <Mark tone={stateTones[d.state] ?? "plain"}>{words.states[d.state] ?? d.state}</Mark>;
}

export function Outcome({ outcome }: { outcome: string | undefined }) {
  if (!outcome) return <span className="dim">{words.none}</span>;
  return <Mark tone={outcomeTones[outcome] ?? "plain"}>{words.outcomes[outcome] ?? outcome}</Mark>;
}

export function IncidentState({ i }: { i: { status: string; resolution?: string } }) {
  if (i.status === "firing") return <Mark tone="bad">{words.firing}</Mark>;
  return <Mark tone={i.resolution === "recovered" ? "good" : "quiet"}>{words.resolutions[i.resolution ?? ""] ?? words.resolved}</Mark>;
}

export function Type({ type }: { type: string }) {
  return <span className={`type t-${type}`}>{words.types[type] ?? type}</span>;
}

// --- states of a page --------------------------------------------------------------------------------------------

export function Loading({ rows = 3 }: { rows?: number }) {
  return (
    <div className="loading" role="status">
      <span className="visually-hidden">{words.load.loading}</span>
      {Array.from({ length: rows }, (_, i) => (
        <div key={i} className="bone" aria-hidden="true" />
      ))}
    </div>
  );
}

export function Empty({ title, children, good, whole }: { title: string; children?: ReactNode; good?: boolean; whole?: boolean }) {
  const Title = whole ? "h1" : "p";
  return (
    <div className={good ? "empty good" : "empty"}>
      {good && (
        <svg viewBox="0 0 24 24" aria-hidden="true" className="tick">
          <circle cx="12" cy="12" r="11" />
          <path d="m7 12.5 3.4 3.4L17 9" />
        </svg>
      )}
      <Title className="title">{title}</Title>
      {children && <div className="dim">{children}</div>}
    </div>
  );
}

export function Failed({ error, retry, whole }: { error: unknown; retry?: () => void; whole?: boolean }) {
  const Title = whole ? "h1" : "p";
  const p = error instanceof Problem ? error : undefined;
  return (
    <div className="failed" role="alert">
      <Title className="title">{p?.status === 404 ? words.load.notFound : words.load.failed}</Title>
      <p>{p?.status === 0 ? words.load.unreachable : <Untrusted text={p?.detail ?? String(error)} />}</p>
      {p?.requestId && <p className="dim mono">{words.load.request(p.requestId)}</p>}
      {retry && (
        <button type="button" onClick={retry}>
          {words.load.again}
        </button>
      )}
    </div>
  );
}

/** What a query has: its data, or why not, or that it is on its way. */
export function Ready<T>({ of, children, rows, whole }: { of: { data: T | undefined; error: unknown; refetch: () => unknown }; children: (data: T) => ReactNode; rows?: number; whole?: boolean }) {
  if (of.data !== undefined) return children(of.data);
  if (of.error) return <Failed error={of.error} retry={() => void of.refetch()} whole={whole} />;
  return <Loading rows={rows} />;
}

// --- structure ---------------------------------------------------------------------------------------------------

export function Page({ title, lead, actions, children, wide }: { title: ReactNode; lead?: ReactNode; actions?: ReactNode; children: ReactNode; wide?: boolean }) {
  return (
    <div className={wide ? "page wide" : "page"}>
      <header className="page-head">
        <div className="page-title">
          <h1 tabIndex={-1}>{title}</h1>
          {lead && <p className="dim">{lead}</p>}
        </div>
        {actions && <div className="actions">{actions}</div>}
      </header>
      {children}
    </div>
  );
}

export function Section({ title, aside, children, className }: { title: string; aside?: ReactNode; children: ReactNode; className?: string }) {
  const id = useId();
  return (
    <section aria-labelledby={id} className={className ? `section ${className}` : "section"}>
      <div className="section-head">
        <h2 id={id}>{title}</h2>
        {aside}
      </div>
      {children}
    </section>
  );
}

export function Facts({ rows }: { rows: [string, ReactNode][] }) {
  return (
    <dl className="facts">
      {rows
        .filter(([, value]) => value !== undefined && value !== null && value !== "" && value !== false)
        .map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
    </dl>
  );
}

/** One of a few: as a row of buttons. */
export function Choice<T extends string>({ label, value, options, onChange }: { label: string; value: T; options: Record<T, string>; onChange: (v: T) => void }) {
  return (
    <div className="choice" role="group" aria-label={label}>
      {(Object.keys(options) as T[]).map((o) => (
        <button key={o} type="button" aria-pressed={o === value} onClick={() => onChange(o)}>
          {options[o]}
        </button>
      ))}
    </div>
  );
}

/** A native select with its label. */
export function Select({ label, value, options, onChange, hideLabel }: { label: string; value: string; options: Record<string, string>; onChange: (v: string) => void; hideLabel?: boolean }) {
  return (
    <label className="field">
      <span className={hideLabel ? "visually-hidden" : undefined}>{label}</span>
      <select value={value} onChange={(e) => onChange(e.target.value)}>
        {Object.entries(options).map(([v, text]) => (
          <option key={v} value={v}>
            {text}
          </option>
        ))}
      </select>
    </label>
  );
}

/** A text field that passes on what was typed when the typing rests. */
export function Search({ label, value, onChange, placeholder }: { label: string; value: string; onChange: (v: string) => void; placeholder?: string }) {
  const [text, setText] = useState(value);
  const sent = useRef(value);
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => {
    // What comes back of the address late must not take away what is typed meanwhile.
    if (value !== sent.current && document.activeElement !== field.current) {
      sent.current = value;
      setText(value);
    }
  }, [value]);
  useEffect(() => {
    if (text === sent.current) return;
    const rest = setTimeout(() => {
      sent.current = text;
      onChange(text);
    }, 250);
    return () => clearTimeout(rest);
  }, [text, onChange]);
  return (
    <label className="field">
      <span>{label}</span>
      <input ref={field} type="search" data-search value={text} placeholder={placeholder} spellCheck={false} autoComplete="off" onChange={(e) => setText(e.target.value)} />
    </label>
  );
}

/** A dialog of the platform: it keeps the focus, closes by Escape, and gives the focus back. */
export function Dialog({ title, onClose, children, className }: { title: string; onClose: () => void; children: ReactNode; className?: string }) {
  const ref = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const dialog = ref.current;
    if (dialog && !dialog.open) dialog.showModal();
    return () => dialog?.close();
  }, []);
  return (
    <dialog ref={ref} aria-labelledby={id} className={className} onClose={onClose} onClick={(e) => e.target === ref.current && onClose()}>
      <div className="dialog-body">
        <h2 id={id}>{title}</h2>
        {children}
      </div>
    </dialog>
  );
}

export function Copy({ text, label }: { text: () => string; label?: string }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text());
    } catch {
      const area = document.createElement("textarea"); // where the clipboard is only for secure pages
      area.value = text();
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  };
  return (
    <button type="button" onClick={() => void copy()}>
      <span aria-live="polite">{done ? words.copied : (label ?? words.copy)}</span>
    </button>
  );
}

export const incidentPath = (id: string) => `/incidents/${id}`;
export const deliveryPath = (id: string) => `/deliveries/${id}`;
export const hookPath = (h: { namespace: string; name: string }) => `/hooks/${encodeURIComponent(h.namespace)}/${encodeURIComponent(h.name)}`;

export function HookLink({ hook }: { hook: { namespace: string; name: string } }) {
  return (
    <Link href={hookPath(hook)}>
      <span className="dim">{hook.namespace}/</span>
      {hook.name}
    </Link>
  );
}

export function WorkloadName({ namespace, workload }: { namespace: string; workload: { kind: string; name: string } }) {
  return (
    <span className="workload" title={`${workload.kind} ${namespace}/${workload.name}`}>
      <span className="dim">{namespace}/</span>
      <Untrusted text={workload.name} />
    </span>
  );
}
