// A Hook, checked as it is written; nothing is applied.
import { useEffect, useRef, useState } from "react";
import { basePath, Problem, problemOf, type Schemas } from "../api/client";
import { Empty, Mark, Page, Prompt, Section, Untrusted } from "../ui/base";
import { useTitle } from "../ui/state";
import { words } from "../words";

const w = words.try;

const example = `apiVersion: kagent.dev/v1alpha2
kind: Hook
metadata:
  name: memory
  namespace: shop
spec:
  eventConfigurations:
    - name: memory
      eventType: oom-kill
      agentId: kagent/memory-analyzer
      prompt: |
        {{.EventType}} of {{.Workload}}: {{.EventMessage}}.
        Find out why, and say what should be done.
`;

type State = { report?: Schemas["Report"]; error?: unknown; busy?: boolean; waits?: number };

export default function Try() {
  useTitle(w.title);
  const [text, setText] = useState(example);
  const state = useValidation(text);
  const lines = text.split("\n");
  const marks = new Map<number, "bad" | "wait">();
  for (const f of state.report?.warnings ?? []) if (f.line) marks.set(f.line, "wait");
  for (const f of state.report?.errors ?? []) if (f.line) marks.set(f.line, "bad");
  const gutter = useRef<HTMLPreElement>(null);
  return (
    <Page title={w.title} lead={w.lead} wide>
      <div className="two">
        <div className="editor">
          <pre ref={gutter} className="gutter" aria-hidden="true">
            {lines.map((_, i) => (
              <span key={i} className={marks.get(i + 1)}>{i + 1}{"\n"}</span>
            ))}
          </pre>
          <textarea
            data-search aria-label={w.label} value={text} spellCheck={false} autoComplete="off" wrap="off" rows={Math.max(20, lines.length + 1)}
            onChange={(e) => setText(e.target.value)}
            onScroll={(e) => gutter.current && (gutter.current.scrollTop = e.currentTarget.scrollTop)}
          />
        </div>
        <div>{text.trim() ? <Result state={state} /> : <Empty title={w.empty} />}</div>
      </div>
    </Page>
  );
}

/** Asks half a second after the last key; an older question is given up. */
function useValidation(text: string): State {
  const [state, setState] = useState<State>({});
  useEffect(() => {
    if (!text.trim()) return setState({});
    const abort = new AbortController();
    let timer: ReturnType<typeof setTimeout>;
    const check = async () => {
      setState((s) => ({ ...s, busy: true }));
      try {
        const response = await fetch(`${basePath}/api/v1/hooks/validate`, { method: "POST", body: text, signal: abort.signal, headers: { "Content-Type": "application/yaml", Accept: "application/json" } });
        if (response.ok) return setState({ report: (await response.json()) as Schemas["Report"] });
        const problem = problemOf(response, await response.json().catch(() => null));
        if (problem.retryAfter > 0) {
          setState((s) => ({ ...s, busy: false, waits: problem.retryAfter }));
          timer = setTimeout(() => void check(), problem.retryAfter * 1000);
        } else setState({ error: problem });
      } catch {
        if (!abort.signal.aborted) setState({ error: new Problem(0, "", "unreachable", "", 0) });
      }
    };
    timer = setTimeout(() => void check(), 500);
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, [text]);
  return state;
}

function Result({ state }: { state: State }) {
  const { report, error, busy, waits } = state;
  return (
    <div aria-live="polite">
      {waits !== undefined ? <p className="dim">{w.waits(waits)}</p> : busy && <p className="dim">{w.checking}</p>}
      {error instanceof Problem && <p className="error-text" role="alert"><Untrusted text={error.status === 0 ? words.load.unreachable : error.detail} /></p>}
      {report && (
        <>
          <p className="verdict"><Mark tone={report.valid ? "good" : "bad"}>{report.valid ? w.valid : w.invalid}</Mark> <span className="dim">{(report.hooks ?? []).join(", ")}</span></p>
          <Findings title={w.errors} list={report.errors ?? []} tone="bad" />
          <Findings title={w.warnings} list={report.warnings ?? []} tone="wait" />
          <Findings title={w.notes} list={report.notes ?? []} tone="plain" />
          {(report.prompts ?? []).length > 0 && <Section title={w.prompts}>{(report.prompts ?? []).map((p) => <div key={`${p.hook} ${p.field}`}><p className="dim">{p.hook} · {p.config} → {p.agent}</p><Prompt text={p.prompt} /></div>)}</Section>}
        </>
      )}
    </div>
  );
}

function Findings({ title, list, tone }: { title: string; list: Schemas["Finding"][]; tone: "bad" | "wait" | "plain" }) {
  if (list.length === 0) return null;
  return (
    <Section title={title}>
      <ul className="findings">
        {list.map((f, i) => (
          <li key={i}>
            <Mark tone={tone}>{f.line ? w.line(f.line) : (f.field ?? "")}</Mark>
            <span>{f.line && f.field && <code>{f.field}</code>} <Untrusted text={f.message} /></span>
          </li>
        ))}
      </ul>
    </Section>
  );
}
