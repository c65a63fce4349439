// One Hook: what it is about, how it does, what it decided.
import { useQuery } from "@tanstack/react-query";
import { Link, useParams } from "wouter";
import type { Hook, Schemas } from "../api/client";
import { ask } from "../api/queries";
import { compact, count } from "../lib/time";
import { ActionButton } from "../ui/actions";
import { Copy, Facts, incidentPath, Mark, Page, Prompt, Ready, Section, Time, Type, Untrusted, WorkloadName } from "../ui/base";
import { useTitle } from "../ui/state";
import { words } from "../words";
import { HookState } from "./hooks";

const w = words.hook;

type Configuration = { name?: string; eventType?: string; agentId?: string; agentRef?: { name?: string; namespace?: string }; prompt?: string; match?: string; selector?: unknown; groupBy?: string; dedupWindow?: string };
type Condition = { type: string; status: string; reason?: string; message?: string; lastTransitionTime?: string };

export default function HookPage() {
  const { namespace, name } = useParams<{ namespace: string; name: string }>();
  const hook = useQuery(ask.hook(decodeURIComponent(namespace), decodeURIComponent(name)));
  useTitle(hook.data ? hook.data.name : words.hooks.title);
  return <Ready of={hook} rows={8} whole>{(h) => <Whole h={h} />}</Ready>;
}

function Whole({ h }: { h: Hook }) {
  const configurations = (h.spec.eventConfigurations ?? []) as Configuration[];
  const conditions = ((h.status as { conditions?: Condition[] }).conditions ?? []) as Condition[];
  const limit = h.spec.maxCallsPerHour as number | undefined;
  const manifest = useQuery({ ...ask.hookManifest(h.namespace, h.name), enabled: false });
  return (
    <Page
      wide
      title={<><span><span className="dim">{h.namespace}/</span>{h.name}</span> <HookState h={h} /></>}
      lead={h.message && <Untrusted text={h.message} />}
      actions={
        <>
          <Link className="button" href={`/why?namespace=${encodeURIComponent(h.namespace)}&hook=${encodeURIComponent(h.name)}`}>{w.why}</Link>
          <ActionButton action={h.paused ? "unpause" : "pause"} target={{ id: "", hook: h }} />
        </>
      }
    >
      <div className="story">
        <div className="story-main">
          <Section title={w.configurations}>
            {configurations.map((c, i) => (
              <article className="call" key={i}>
                <header>
                  {c.eventType && <Type type={c.eventType} />}
                  <span className="strong">{c.name ?? c.eventType}</span>
                  <span className="dim">→ {c.agentId ?? `${c.agentRef?.namespace ?? h.namespace}/${c.agentRef?.name ?? ""}`}</span>
                </header>
                <Facts
                  rows={[
                    [w.match, c.match && <code>{c.match}</code>],
                    [w.selector, c.selector ? <code>{JSON.stringify(c.selector)}</code> : undefined],
                    [w.groupBy, c.groupBy !== "workload" && c.groupBy],
                    [w.dedup, c.dedupWindow],
                  ]}
                />
                {c.prompt && <details><summary>{w.prompt}</summary><Prompt text={c.prompt} /></details>}
              </article>
            ))}
          </Section>
          <Decisions h={h} />
          <details onToggle={(e) => (e.target as HTMLDetailsElement).open && void manifest.refetch()}>
            <summary>{w.manifest}</summary>
            {manifest.data && <><Copy label={w.download} text={() => manifest.data} /><pre className="raw" tabIndex={0}>{manifest.data}</pre></>}
          </details>
        </div>
        <div className="story-side">
          <Section title={w.conditions}>
            <ul className="lines">
              {conditions.map((c) => (
                <li key={c.type} className="condition">
                  <Mark tone={c.type === "Ready" ? (c.status === "True" ? "good" : "bad") : c.status === "True" ? "wait" : "plain"}>{c.type}</Mark>
                  <span className="dim">{c.reason}</span>
                  <span className="age"><Time at={c.lastTransitionTime} /></span>
                  {c.message && <p className="dim"><Untrusted text={c.message} /></p>}
                </li>
              ))}
            </ul>
            <p>{limit === undefined ? w.noBudget(h.statistics.callsLastHour) : w.budget(h.statistics.callsLastHour, limit)}</p>
            {limit !== undefined && <meter className="budget" min={0} max={limit} value={h.statistics.callsLastHour} aria-label={words.hooks.columns.budget} />}
          </Section>
          <Metrics h={h} />
        </div>
      </div>
    </Page>
  );
}

function Metrics({ h }: { h: Hook }) {
  const metrics = useQuery(ask.hookMetrics(h.namespace, h.name, "7d"));
  return (
    <Ready of={metrics} rows={3}>
      {(m) => (
        <>
          <Section title={w.outcomes}>
            <Facts
              rows={[
                [w.open, count(m.activeIncidents)],
                [w.effect, m.outcomes.effectiveness === undefined ? words.none : `${m.outcomes.effectiveness} %`],
                [words.outcomes.recovered!, count(m.outcomes.recovered)], [words.outcomes.relapsed!, count(m.outcomes.relapsed)], [words.outcomes.persisting!, count(m.outcomes.persisting)], [words.outcomes.unknown!, count(m.outcomes.unknown)],
                [w.base, m.outcomes.baseRate && (m.outcomes.baseRate.rate === undefined ? words.agents.few(m.outcomes.baseRate.failures) : w.baseText(`${m.outcomes.baseRate.rate} %`, m.outcomes.baseRate.failures))],
                [w.tokens, m.tokens.total > 0 && compact(m.tokens.total)],
              ]}
            />
          </Section>
          <Section title={w.dispositions}>
            <Facts rows={Object.entries(m.events.byDisposition).filter(([, n]) => n > 0).sort((a, b) => b[1] - a[1]).map(([d, n]) => [words.dispositions[d] ?? d, count(n)])} />
          </Section>
        </>
      )}
    </Ready>
  );
}

function Decisions({ h }: { h: Hook }) {
  const events = useQuery(ask.hookEvents(h.namespace, h.name));
  return (
    <Section title={w.decisions}>
      <Ready of={events}>
        {(page: Schemas["PageEvent"]) =>
          page.items.length === 0 ? <p className="nothing">{w.decisionsNone}</p> : (
            <ul className="lines">
              {page.items.map((e) => (
                <li key={e.id}>
                  <Link href={incidentPath(e.incidentId)} className="line">
                    <Type type={e.eventType} /> <WorkloadName namespace={e.namespace} workload={e.workload} />
                    <span className="dim">{(e.dispositions ?? []).map((d) => words.dispositions[d.disposition] ?? d.disposition).join(", ")}</span>
                    <span className="age"><Time at={e.timestamp} /></span>
                  </Link>
                </li>
              ))}
            </ul>
          )
        }
      </Ready>
    </Section>
  );
}
