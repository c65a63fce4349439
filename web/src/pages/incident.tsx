// One incident: what happened, who was called, what they did, and what proves that it helped.
import { useQueries, useQuery } from "@tanstack/react-query";
import { useMemo, type ReactNode } from "react";
import { Link, useParams } from "wouter";
import type { Delivery, DeliveryDetail, Incident, IncidentDetail, TimelineEntry } from "../api/client";
import { ask } from "../api/queries";
import { asMarkdown, steps, verdict, type Density, type Step, type Verdict } from "../lib/story";
import { count, duration, one } from "../lib/time";
import { ActionButton } from "../ui/actions";
import { Choice, Copy, deliveryPath, DeliveryState, Facts, HookLink, IncidentState, incidentPath, Mark, Outcome, Page, Prompt, Ready, Section, Time, Took, Type, Untrusted, WorkloadName, type Tone } from "../ui/base";
import { Markdown } from "../ui/markdown";
import { useParam, useTitle } from "../ui/state";
import { typeOf, words } from "../words";

const w = words.incident;

export default function IncidentPage() {
  const { id } = useParams<{ id: string }>();
  const incident = useQuery(ask.incident(id));
  useTitle(incident.data ? `${typeOf(incident.data.eventType)} ${incident.data.workload.name}` : w.title);
  return <Ready of={incident} rows={8} whole>{(i) => <Story i={i} />}</Ready>;
}

function Story({ i }: { i: IncidentDetail }) {
  const calls = useQueries({ queries: i.deliveries.slice(0, 5).map((d) => ask.delivery(d.id)) });
  const details = useMemo(() => calls.flatMap((c) => (c.data ? [c.data] : [])), [calls]);
  const newest = i.deliveries.at(-1);
  return (
    <Page
      wide
      title={<><Type type={i.eventType} /> <WorkloadName namespace={i.namespace} workload={i.workload} /></>}
      lead={<><Untrusted text={i.message} /> <span className="dim">· {i.status === "firing" ? w.failingFor(duration(i.durationSeconds)) : w.lasted(duration(i.durationSeconds))}{i.events > 1 && ` · ${w.times(i.events)}`}</span></>}
      actions={
        <>
          <Link className="button" href={`/why?namespace=${encodeURIComponent(i.namespace)}&incident=${i.id}`}>{w.whyNot}</Link>
          <Copy label={w.copy} text={() => asMarkdown(i, location.href, (e) => e.text)} />
        </>
      }
    >
      <Stepper i={i} d={newest} />
      {i.unheardSince && <div className="warning"><Mark tone="wait">{w.unheard(i.unheardSince)}</Mark></div>}
      <div className="story">
        <div className="story-main">
          {i.deliveries.length > 0 && (
            <Section title={w.calls}>
              {i.deliveries.map((d) => <Call key={d.id} d={details.find((x) => x.id === d.id) ?? d} />)}
            </Section>
          )}
          <Line i={i} details={details} />
        </div>
        <div className="story-side">
          <Proof i={i} d={newest} />
          <Section title={w.facts}>
            <Facts
              rows={[
                [w.pod, <span className="mono" key="p"><Untrusted text={`${i.resourceKind}/${i.resourceName}`} /></span>],
                [w.container, i.container && <span className="mono"><Untrusted text={i.container} /></span>],
                [w.reason, <Untrusted key="r" text={i.reason} />],
                [w.exit, i.exitCode === undefined ? undefined : <span className="mono">{i.exitCode}</span>],
                [w.restarts, i.restartCount > 0 && count(i.restartCount)],
                [w.node, i.node && <Untrusted text={i.node} />],
                [w.cluster, i.cluster],
                [words.incidents.columns.events, i.events > 1 && count(i.events)],
                [w.reopened, i.reopenings && <>{count(i.reopenings)} × (<Time at={i.reopenedAt} />)</>],
                [w.labels, i.labels && <span className="labels">{Object.entries(i.labels).map(([k, v]) => <code key={k}><Untrusted text={`${k}=${v}`} /></code>)}</span>],
                [w.causedBy, i.causedBy && <Link href={incidentPath(i.causedBy)}>{i.causedBy.slice(0, 8)}</Link>],
              ]}
            />
          </Section>
          {i.effects.length > 0 && <Section title={w.effects}><Others list={i.effects} /></Section>}
          <Earlier i={i} />
        </div>
      </div>
    </Page>
  );
}

function Stepper({ i, d }: { i: IncidentDetail; d: Delivery | undefined }) {
  const v = verdict(i, d);
  const between = (a?: string, b?: string) => (a && b ? `+${duration((Date.parse(b) - Date.parse(a)) / 1000)}` : undefined);
  const parts: { name: string; done: boolean; what: ReactNode; after?: string | undefined }[] = [
    { name: w.steps.seen, done: true, what: <Time at={i.firstSeen} /> },
    { name: w.steps.called, done: Boolean(d?.calledAt), what: d?.calledAt ? d.agent.name : d ? words.states[d.state] : w.notCalled, after: between(i.firstSeen, d?.calledAt) },
    { name: w.steps.answered, done: d?.state === "succeeded", what: d ? <DeliveryState d={d} /> : words.none, after: between(d?.calledAt, d?.endedAt) },
    { name: w.steps.proof, done: !["watching", "open"].includes(v), what: <Mark tone={tones[v]}>{titles[v]}</Mark>, after: between(i.firstSeen, d?.recoveredAt ?? i.resolvedAt) },
  ];
  return (
    <ol className="stepper">
      {parts.map((p) => (
        <li key={p.name} className={p.done ? "done" : ""}>
          <span className="step-name">{p.name}</span>
          <span className="step-what">{p.what}</span>
          <span className="step-after dim num">{p.after}</span>
        </li>
      ))}
    </ol>
  );
}

const p = words.proof;
const tones: Record<Verdict, Tone> = { recovered: "good", relapsed: "bad", persisting: "bad", unknown: "quiet", watching: "busy", open: "bad", self: "good", quiet: "quiet", gone: "quiet" };
const titles: Record<Verdict, string> = { recovered: p.recovered, relapsed: p.relapsed, persisting: p.persisting, unknown: p.unknown, watching: p.watching, open: p.open, self: p.recovered, quiet: p.quiet, gone: p.gone };

export function Proof({ i, d }: { i: Pick<IncidentDetail, "status" | "resolution" | "resolvedAt" | "firstSeen" | "resourceKind" | "resourceName" | "container" | "workload" | "lastSeen">; d: Delivery | undefined }) {
  const v = verdict(i, d);
  const told = {
    recovered: [p.recoveredText(d?.recoverySeconds === undefined ? "" : duration(d.recoverySeconds)), d?.recoveredIn && p.when[d.recoveredIn]].filter(Boolean).join(" "),
    relapsed: p.relapsedText(d?.relapseSeconds === undefined ? "" : duration(d.relapseSeconds)),
    persisting: p.persistingText, unknown: p.unknownText, watching: p.watchingText, open: p.openText, self: p.selfText, quiet: p.quietText, gone: p.goneText,
  }[v];
  return (
    <Section title={p.title} className={`proof ${tones[v]}`}>
      <p className="verdict"><Mark tone={tones[v]}>{titles[v]}</Mark></p>
      <p>{told}</p>
      <Facts
        rows={[
          [p.looked, <span key="l" className="mono"><Untrusted text={`${i.resourceKind}/${i.resourceName}${i.container ? `, ${i.container}` : ""}`} /></span>],
          ["", <span key="w" className="mono dim"><Untrusted text={`${i.workload.kind}/${i.workload.name}`} /></span>],
          [p.since, <Time key="s" at={d?.createdAt ?? i.firstSeen} />],
          [p.until, d?.verifyUntil ? <Time at={d.verifyUntil} /> : d?.outcomeAt ? <Time at={d.outcomeAt} /> : i.resolvedAt ? <Time at={i.resolvedAt} /> : words.none],
        ]}
      />
    </Section>
  );
}

function Call({ d }: { d: Delivery | DeliveryDetail }) {
  const target = { id: d.id, hook: d.hook, questionId: d.questionId, text: d.question };
  return (
    <article className="call">
      <header>
        <DeliveryState d={d} />
        <Link href={deliveryPath(d.id)} className="strong">{d.agent.namespace}/{d.agent.name}</Link>
        <span className="dim"><HookLink hook={d.hook} /> · {d.config}</span>
        <span className="age"><Took from={d.calledAt ?? d.createdAt} to={d.endedAt} /></span>
      </header>
      {d.state === "input-required" && (
        <div className="asks">
          <p className="strong">{d.needsApproval ? words.delivery.wants : words.delivery.asks}</p>
          {d.question && <pre className="exact" tabIndex={0}><Untrusted text={d.question} /></pre>}
          <div className="buttons start">
            {d.needsApproval ? (<><ActionButton action="approve" target={target} primary /><ActionButton action="reject" target={target} /></>) : <ActionButton action="reply" target={target} primary />}
          </div>
        </div>
      )}
      {d.error && <p className="error-text"><Untrusted text={d.error} /></p>}
      {d.answer && <Markdown text={d.answer} />}
      {d.textsWithheld && <p className="dim">{words.delivery.withheld}: <Untrusted text={d.textsWithheld} /></p>}
      {d.prompt && (
        <details>
          <summary>{w.prompt}</summary>
          <p className="dim">{w.promptHint}</p>
          <Prompt text={d.prompt} />
        </details>
      )}
    </article>
  );
}

const densities = { story: w.density.story, line: w.density.line, all: w.density.all } satisfies Record<Density, string>;

function Line({ i, details }: { i: IncidentDetail; details: DeliveryDetail[] }) {
  const [density, setDensity] = useParam<Density>("show", "story");
  const list = useMemo(() => steps(i.timeline, details, density), [i.timeline, details, density]);
  return (
    <Section title={w.story} aside={<Choice label={w.densityLabel} value={density} options={densities} onChange={setDensity} />}>
      <ol className="timeline">
        {list.map((s, k) => <Entry key={k} s={s} before={list[k - 1]?.at} />)}
      </ol>
      {i.truncated && <p className="dim">{w.truncated}</p>}
    </Section>
  );
}

function Entry({ s, before }: { s: Step; before: string | undefined }) {
  const gap = before ? (Date.parse(s.at) - Date.parse(before)) / 1000 : 0;
  return (
    <li className={`entry ${toneOf(s)}`}>
      <span className="when"><Time at={s.at} exact />{gap >= 1 && <span className="gap dim num">+{one(gap)}</span>}</span>
      <span className="knot" aria-hidden="true" />
      <div className="what"><Told s={s} /></div>
    </li>
  );
}

function toneOf(s: Step): Tone {
  if (s.kind === "fold") return "quiet";
  if (s.kind === "log") return s.entry.kind === "question" ? "wait" : "busy";
  switch (s.entry.kind) {
    case "event":
    case "reopened":
      return "bad";
    case "resolution":
      return "good";
    case "delivery":
      return "busy";
    case "unheard":
    case "notice":
      return "wait";
    default:
      return "plain";
  }
}

function Told({ s }: { s: Step }) {
  if (s.kind === "fold") {
    return (
      <details>
        <summary>{w.folded(s.entries.length, w.repeated, one((Date.parse(s.until) - Date.parse(s.at)) / 1000))}</summary>
        <ul className="plain-list">
          {s.entries.map((e, i) => <li key={i}><Time at={e.at} exact /> <Untrusted text={e.text} /></li>)}
        </ul>
      </details>
    );
  }
  if (s.kind === "log") {
    const long = (s.entry.text ?? "").length > 400;
    const text = <Untrusted text={s.entry.text ?? s.entry.state ?? ""} />;
    return (
      <>
        <span className="tag">{words.logKinds[s.entry.kind] ?? s.entry.kind}</span> {s.entry.name && <code><Untrusted text={s.entry.name} /></code>} {s.entry.by && <span className="dim">{s.entry.by}</span>}
        {s.entry.text && (long ? <details><summary><Untrusted text={`${s.entry.text.slice(0, 120)}…`} /></summary><pre tabIndex={0}>{text}</pre></details> : <div className={s.entry.kind.startsWith("tool") ? "mono said" : "said"}>{text}</div>)}
      </>
    );
  }
  return <TimelineText e={s.entry} />;
}

function TimelineText({ e }: { e: TimelineEntry }) {
  return (
    <>
      <Untrusted text={e.text} />
      {e.event?.exitCode !== undefined && !e.text.includes("exit code") && <span className="tag mono">exit {e.event.exitCode}</span>}
      {e.decision && <span className="tag">{words.dispositions[e.decision.disposition] ?? e.decision.disposition}</span>}
    </>
  );
}

function Others({ list }: { list: Incident[] }) {
  return (
    <ul className="lines">
      {list.map((i) => (
        <li key={i.id}>
          <Link href={incidentPath(i.id)} className="line">
            <Type type={i.eventType} /> <IncidentState i={i} /> <span className="dim num">{duration(i.durationSeconds)}</span> <span className="age"><Time at={i.firstSeen} /></span>
          </Link>
        </li>
      ))}
    </ul>
  );
}

/** What was wrong with this workload before, and what came of it. */
function Earlier({ i }: { i: IncidentDetail }) {
  const earlier = useQuery(ask.earlier(i.id));
  return (
    <Section title={w.earlier}>
      <Ready of={earlier} rows={2}>
        {(before) =>
          before.items.length === 0 ? <p className="nothing">{w.earlierNone}</p> : (
            <ul className="lines">
              {before.items.slice(0, 10).map((x) => {
                const d = x.deliveries?.find((c) => c.outcome) ?? x.deliveries?.[0];
                return (
                  <li key={x.id}>
                    <Link href={incidentPath(x.id)} className="line">
                      <Type type={x.eventType} />
                      {d ? <><span>{d.agent.name}</span>{d.outcome ? <Outcome outcome={d.outcome} /> : <DeliveryState d={d} />}</> : <IncidentState i={x} />}
                      <span className="dim num">{duration(x.durationSeconds)}</span>
                      <span className="age"><Time at={x.firstSeen} /></span>
                    </Link>
                  </li>
                );
              })}
            </ul>
          )
        }
      </Ready>
    </Section>
  );
}
