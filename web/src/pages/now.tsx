// What needs somebody, what fails, what is done about it, and how the day was.
import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { Link } from "wouter";
import type { Delivery, Hook, Incident, InboxItem, Pause, Schemas } from "../api/client";
import { ask } from "../api/queries";
import { compact, dayAndHour } from "../lib/time";
import { ActionButton } from "../ui/actions";
import { DeliveryState, deliveryPath, Empty, HookLink, incidentPath, Mark, Page, Ready, Section, Time, Type, Untrusted, useNow, WorkloadName } from "../ui/base";
import { Strip } from "../ui/strip";
import { useNamespace, useTitle, withNamespace } from "../ui/state";
import { typeOf, words } from "../words";

const w = words.now;

export default function Now() {
  useTitle(w.title);
  const [namespace] = useNamespace();
  const inbox = useQuery(ask.inbox(namespace));
  const firing = useQuery(ask.incidents({ namespace, status: "firing", limit: 200 }));
  const working = useQuery(ask.deliveries({ namespace, state: "working", limit: 20 }));
  const calling = useQuery(ask.deliveries({ namespace, state: "calling", limit: 20 }));
  const yesterday = new Date(Math.floor(useNow().getTime() / 600_000) * 600_000 - 24 * 3_600_000).toISOString();
  const expired = useQuery(ask.deliveries({ namespace, state: "expired", startTime: yesterday, limit: 10 }));
  const agents = useQuery(ask.agents({ timeRange: "24h", namespace }));
  const pauses = useQuery(ask.pauses(namespace));
  const hooks = useQuery(ask.hooks(namespace));
  const health = useQuery(ask.health());
  const atWork = [...(working.data?.items ?? []), ...(calling.data?.items ?? [])];
  const suspended = (hooks.data?.items ?? []).filter((h) => h.suspended);
  const calm = inbox.data?.data.length === 0 && firing.data?.total === 0 && working.data && calling.data && atWork.length === 0;
  const outcomes = sumOutcomes(agents.data?.data ?? []);
  return (
    <Page title={w.title} wide>
      <Warnings pauses={pauses.data?.data ?? []} suspended={suspended} notReady={(hooks.data?.items ?? []).filter((h) => h.ready === "False")} health={health.data} />
      <div className="tiles">
        <Tile to="/incidents?status=firing" label={w.strip.open} value={firing.data && num(firing.data)} tone={firing.data?.total ? "bad" : "good"} />
        <Tile to="/deliveries?tab=inbox" label={w.strip.waiting} value={inbox.data && String(inbox.data.data.length)} tone={inbox.data?.data.length ? "wait" : "plain"} />
        <Tile to="/deliveries?tab=working" label={w.strip.working} value={working.data && compact(working.data.total + (calling.data?.total ?? 0))} tone={atWork.length ? "busy" : "plain"} />
        <Tile to="/agents" label={w.strip.recovered} value={agents.data && outcomes.share} detail={outcomes.of} tone="plain" />
        <Tile to="/hooks" label={w.strip.held} value={hooks.data && pauses.data && String(pauses.data.data.length + suspended.length)} tone={(pauses.data?.data.length ?? 0) + suspended.length > 0 ? "wait" : "plain"} />
      </div>
      {calm && (
        <Empty title={w.well} good>
          <p>{w.wellText}</p>
          {health.data?.plugins && <p>{w.wellWatched(health.data.plugins.filter((p) => p.state === "up").length)}</p>}
        </Empty>
      )}
      <div className="now">
        <div className="now-main">
          {!calm && (
            <Section title={w.waiting} className="waiting" aside={inbox.data?.data.length ? <Link href={withNamespace("/deliveries?tab=inbox", namespace)}>{w.openAll}</Link> : undefined}>
              <Ready of={inbox}>{(box) => 
                box.data.length + (expired.data?.items.length ?? 0) === 0 ? <p className="nothing">{w.waitingNone}</p> : (
                  <ul className="cards">
                    {box.data.map((i) => <Waits key={`${i.kind} ${i.deliveryId} ${i.group}`} item={i} />)}
                    {expired.data?.items.map((d) => <Expired key={d.id} d={d} />)}
                  </ul>
                )
              }</Ready>
            </Section>
          )}
          {!calm && (
            <Section title={w.fails} aside={<Link href={withNamespace("/incidents?status=firing", namespace)}>{w.openAll}</Link>}>
              <Ready of={firing}>{(page) => (page.items.length === 0 ? <p className="nothing">{w.failsNone}</p> : <Failing incidents={page.items} total={page.total} />)}</Ready>
            </Section>
          )}
        </div>
        <div className="now-side">
          <Section title={w.working}>
            <Ready of={working} rows={1}>
              {() => (atWork.length === 0 ? <p className="nothing">{w.workingNone}</p> : <ul className="lines">{atWork.map((d) => <AtWork key={d.id} d={d} />)}</ul>)}
            </Ready>
          </Section>
          <Day namespace={namespace} agents={agents.data?.data} />
        </div>
      </div>
    </Page>
  );
}

const num = (page: { total: number; totalIsLowerBound?: boolean }) => compact(page.total) + (page.totalIsLowerBound ? "+" : "");

function Tile({ to, label, value, detail, tone }: { to: string; label: string; value: string | undefined; detail?: string; tone: string }) {
  const [namespace] = useNamespace();
  return (
    <Link href={withNamespace(to, namespace)} className={`tile ${tone}`}>
      <span className="tile-value num">{value ?? "…"}{detail && value !== undefined && <small className="dim"> {detail}</small>}</span>
      <span className="tile-label">{label}</span>
    </Link>
  );
}

function Warnings({ pauses, suspended, notReady, health }: { pauses: Pause[]; suspended: Hook[]; notReady: Hook[]; health: Schemas["Health"] | undefined }) {
  return (
    <div className="warnings">
      {health && health.status !== "healthy" && (
        <div className="warning bad" role="alert">
          <Mark tone="bad">{w.unhealthy}</Mark>
          <span>{health.reasons?.join("; ")}</span>
          <Link href="/health">{words.nav.health}</Link>
        </div>
      )}
      {pauses.map((p) => (
        <div className="warning" key={`${p.namespace}/${p.hook}`}>
          <Mark tone="wait">{w.paused(p.hook ? `${p.namespace}/${p.hook}` : (p.namespace ?? w.pausedAll), p.by)}</Mark>
          <span className="dim">
            <Time at={p.at} />, {p.ends ? w.pausedUntil(dayAndHour(new Date(p.ends))) : w.pausedOpen}: <Untrusted text={p.reason} />
          </span>
          <ActionButton action="unpause" target={{ id: "", hook: { namespace: p.namespace ?? "", name: p.hook ?? "" } }} small />
        </div>
      ))}
      {notReady.length > 0 && (
        <div className="warning">
          <Mark tone="wait">{w.notReady(notReady.length)}</Mark>
          <span>{list(notReady)}</span>
        </div>
      )}
      {suspended.length > 0 && (
        <div className="warning quiet">
          <Mark tone="quiet">{w.suspended(suspended.length)}</Mark>
          <span>{list(suspended)}</span>
        </div>
      )}
    </div>
  );
}

const list = (hooks: Hook[]) => hooks.slice(0, 8).map((h, i) => <span key={h.uid}>{i > 0 && ", "}<HookLink hook={h} /></span>);

function Waits({ item }: { item: InboxItem }) {
  const target = { id: item.deliveryId ?? "", hook: item.hook, questionId: item.questionId, text: item.text };
  return (
    <li className={`card ${item.kind}`}>
      <div className="card-head">
        <Mark tone="wait">{words.kinds[item.kind]}</Mark>
        {item.deliveryId ? <Link href={deliveryPath(item.deliveryId)} className="strong"><Untrusted text={item.group} /></Link> : <Untrusted text={item.group} />}
        <span className="dim">{item.hook.namespace}{item.agent && ` · ${item.agent.name}`}</span>
        <span className="age"><Time at={item.since} /></span>
      </div>
      <div className="card-row">
        <p className={item.kind === "approval" ? "says mono" : "says"}>
          <Untrusted text={item.text ?? item.textsWithheld ?? ""} />
        </p>
        <div className="buttons">
          {item.kind === "question" && <ActionButton action="reply" target={target} primary small />}
          {item.kind === "approval" && (
            <>
              <ActionButton action="approve" target={target} primary small />
              <ActionButton action="reject" target={target} small />
            </>
          )}
          {item.kind === "stalled" && (
            <>
              <ActionButton action="cancel" target={target} small />
              <ActionButton action="retry" target={target} small />
            </>
          )}
          {item.kind === "loop-guard" && <ActionButton action="resume" target={target} primary small />}
        </div>
      </div>
    </li>
  );
}

/** A task that took longer than it may: nobody knows what its agent did. */
function Expired({ d }: { d: Delivery }) {
  return (
    <li className="card">
      <div className="card-head">
        <DeliveryState d={d} />
        <Link href={deliveryPath(d.id)} className="strong"><Untrusted text={d.group} /></Link>
        <span className="dim">{d.hook.namespace} · {d.agent.name}</span>
        <span className="age"><Time at={d.endedAt} /></span>
      </div>
      <div className="card-row">
        <p className="says"><Untrusted text={d.error ?? ""} /></p>
        <div className="buttons"><ActionButton action="retry" target={{ id: d.id, hook: d.hook }} small /></div>
      </div>
    </li>
  );
}

/** Incidents by workload; what another one explains is below its cause. */
export function groupByWorkload(incidents: Incident[]): { key: string; first: Incident; causes: { incident: Incident; effects: Incident[] }[] }[] {
  const here = new Map(incidents.map((i) => [i.id, i]));
  const groups = new Map<string, { key: string; first: Incident; causes: { incident: Incident; effects: Incident[] }[] }>();
  const causes = new Map<string, { incident: Incident; effects: Incident[] }>();
  for (const i of incidents) {
    if (i.causedBy && here.has(i.causedBy)) continue;
    const key = `${i.cluster ?? ""} ${i.namespace} ${i.workload.kind}/${i.workload.name}`;
    const cause = { incident: i, effects: [] };
    causes.set(i.id, cause);
    const group = groups.get(key);
    if (group) group.causes.push(cause);
    else groups.set(key, { key, first: i, causes: [cause] });
  }
  for (const i of incidents) {
    if (!i.causedBy || !here.has(i.causedBy)) continue;
    let root = here.get(i.causedBy)!;
    for (let n = 0; root.causedBy && here.has(root.causedBy) && n < 10; n++) root = here.get(root.causedBy)!;
    causes.get(root.id)?.effects.push(i);
  }
  return [...groups.values()];
}

function Failing({ incidents, total }: { incidents: Incident[]; total: number }) {
  const groups = useMemo(() => groupByWorkload(incidents), [incidents]);
  return (
    <>
      <ul className="groups">
        {groups.slice(0, 40).map((g) => (
          <li key={g.key} className="group">
            <div className="group-name">
              <WorkloadName namespace={g.first.namespace} workload={g.first.workload} />
              <span className="dim small">{g.first.workload.kind}</span>
            </div>
            <ul>
              {g.causes.slice(0, 5).map(({ incident: i, effects }) => (
                <li key={i.id}>
                  <Link href={incidentPath(i.id)} className="failing">
                    <Type type={i.eventType} />
                    <span className="message"><Untrusted text={i.message} /></span>
                    {i.events > 1 && <span className="times num">×{compact(i.events)}</span>}
                    <span className="age"><Time at={i.firstSeen} /></span>
                  </Link>
                  {effects.length > 0 && <p className="effects dim">{words.incident.effects}: {effects.map((e) => typeOf(e.eventType)).join(", ")}</p>}
                </li>
              ))}
              {g.causes.length > 5 && <li className="dim">{w.failsMore(g.causes.length - 5)}</li>}
            </ul>
          </li>
        ))}
      </ul>
      {total > incidents.length && <p className="dim">{w.failsMore(total - incidents.length)}</p>}
    </>
  );
}

function AtWork({ d }: { d: Delivery }) {
  return (
    <li>
      <Link href={deliveryPath(d.id)} className="line">
        <DeliveryState d={d} />
        <span className="strong">{d.agent.name}</span>
        <span><Untrusted text={d.group} /></span>
        <span className="age"><Time at={d.calledAt ?? d.createdAt} /></span>
      </Link>
    </li>
  );
}

function sumOutcomes(agents: Schemas["AgentStats"][]) {
  let recovered = 0, known = 0;
  for (const a of agents) {
    recovered += a.outcomes.recovered;
    known += a.outcomes.recovered + a.outcomes.relapsed + a.outcomes.persisting;
  }
  return { share: known === 0 ? words.none : `${Math.round((100 * recovered) / known)} %`, of: known === 0 ? undefined : `n=${known}` };
}

function Day({ namespace, agents }: { namespace: string; agents: Schemas["AgentStats"][] | undefined }) {
  const trends = useQuery(ask.trends({ timeRange: "24h", namespace, by: "type", interval: "30m" }));
  const stats = useQuery(ask.stats("24h", namespace));
  return (
    <Section title={w.day} aside={<Link href={withNamespace("/trends", namespace)}>{words.nav.trends}</Link>}>
      <Ready of={trends}>{(t) => (t.buckets.every((b) => b.total === 0) ? <p className="nothing">{w.dayNone}</p> : <Strip trends={t} />)}</Ready>
      {stats.data && agents && <Funnel summary={stats.data.summary} agents={agents} />}
    </Section>
  );
}

function Funnel({ summary, agents }: { summary: Schemas["EventSummary"]; agents: Schemas["AgentStats"][] }) {
  const sum = (of: (a: Schemas["AgentStats"]) => number) => agents.reduce((n, a) => n + of(a), 0);
  const steps: [string, number][] = [
    [w.funnel.seen, summary.totalEvents],
    [w.funnel.incidents, summary.totalEvents - summary.duplicateEvents],
    [w.funnel.called, sum((a) => a.calls)],
    [w.funnel.answered, sum((a) => a.answered)],
    [w.funnel.recovered, sum((a) => a.outcomes.recovered)],
  ];
  const most = Math.max(1, ...steps.map(([, n]) => n));
  return (
    <dl className="funnel" title={w.funnelHint}>
      {steps.map(([name, n]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>
            <span className="bar" style={{ width: `${Math.max(n > 0 ? 1 : 0, (100 * n) / most)}%` }} />
            <span className="num">{compact(n)}</span>
          </dd>
        </div>
      ))}
    </dl>
  );
}
