// Which agent is worth it: what recovered after its calls, beside what recovers without one.
import { useQueries, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link } from "wouter";
import type { AgentStats, Schemas } from "../api/client";
import { ask } from "../api/queries";
import { compact, count, duration } from "../lib/time";
import { Choice, Empty, Page, Ready, Section, Type } from "../ui/base";
import { useNamespace, useParam, useTitle, withNamespace } from "../ui/state";
import { nameOf, words } from "../words";

const w = words.agents;
const fewest = 10;

export default function Agents() {
  useTitle(w.title);
  const [namespace] = useNamespace();
  const [range, setRange] = useParam("range", "24h");
  const agents = useQuery(ask.agents({ timeRange: range, namespace }));
  const rows = agents.data?.data ?? [];
  // The base rate takes room to find out: khook tells it where one agent is asked for.
  const each = useQueries({ queries: rows.slice(0, 12).map((a) => ask.agents({ timeRange: range, namespace, agent: nameOf(a.agent) })) });
  const base = new Map(each.flatMap((q) => (q.data?.data[0] ? [[nameOf(q.data.data[0].agent), q.data.data[0].outcomes.baseRate] as const] : [])));
  const [picked, setPicked] = useState<string[]>([]);
  const compared = rows.filter((a) => picked.includes(nameOf(a.agent)));
  const c = w.columns;
  return (
    <Page title={w.title} lead={w.hint} wide actions={<Choice label={words.trends.range} value={range} options={words.ranges} onChange={setRange} />}>
      <Ready of={agents}>
        {() =>
          rows.length === 0 ? <Empty title={w.none} /> : (
            <div className="scroll" tabIndex={0} role="region" aria-label={w.title}>
              <table className="list">
                <thead>
                  <tr>
                    <th scope="col"><span className="visually-hidden">{w.pick}</span></th>
                    {[c.agent, c.calls, c.answered, c.recovered, c.base, c.persisting, c.relapsed, c.unknown, c.answer, c.recovery, c.tokens, c.questions].map((h) => <th key={h} scope="col">{h}</th>)}
                  </tr>
                </thead>
                <tbody>
                  {rows.map((a) => {
                    const name = nameOf(a.agent);
                    return (
                      <tr key={name}>
                        <td><input type="checkbox" aria-label={`${w.compare}: ${name}`} checked={picked.includes(name)} onChange={(e) => setPicked(e.target.checked ? [...picked.slice(-1), name] : picked.filter((x) => x !== name))} /></td>
                        <td className="strong"><Link href={withNamespace(`/deliveries?agent=${encodeURIComponent(name)}`, namespace)}><span className="dim">{a.agent.namespace}/</span>{a.agent.name}</Link></td>
                        <td className="num">{count(a.calls)}</td>
                        <td className="num"><Share of={a.answered} all={a.calls} /></td>
                        <td className="num"><Share of={a.outcomes.recovered} all={known(a.outcomes)} compare /></td>
                        <td className="num dim"><Base rate={base.get(name)} /></td>
                        <td className="num">{count(a.outcomes.persisting)}</td>
                        <td className="num">{count(a.outcomes.relapsed)}</td>
                        <td className="num dim">{count(a.outcomes.unknown)}</td>
                        <td className="num"><Median d={a.answerSeconds} /></td>
                        <td className="num"><Median d={a.recoverySeconds} /></td>
                        <td className="num">{compact(a.tokens)}</td>
                        <td className="num">{count(a.questions)}</td>
                      </tr>
                    );
                  })}
                </tbody>
              </table>
            </div>
          )
        }
      </Ready>
      {compared.length === 2 ? <Compare a={compared[0]!} b={compared[1]!} /> : rows.length > 1 && <p className="dim">{w.pick}</p>}
    </Page>
  );
}

const known = (o: Schemas["HookOutcomes"]) => o.recovered + o.relapsed + o.persisting;

function Share({ of, all, compare }: { of: number; all: number; compare?: boolean }) {
  if (all === 0) return <span className="dim">{words.none}</span>;
  const percent = Math.round((100 * of) / all);
  if (all < fewest)
    return <span className="dim" title={compare ? w.fewHint : undefined}>{of}/{all} <small>{w.few(all)}</small></span>;
  return (
    <span className="share">
      <span className="bar" style={{ width: `${percent * 0.5}px` }} />
      {percent} %
    </span>
  );
}

function Base({ rate }: { rate: Schemas["BaseRate"] | undefined }) {
  if (!rate) return words.none;
  if (rate.rate === undefined) return <span title={w.fewHint}>{w.few(rate.failures)}</span>;
  return `${Math.round(rate.rate)} %`;
}

const Median = ({ d }: { d: Schemas["Durations"] }) => (d.p50 === undefined ? <span className="dim">{words.none}</span> : <span title={`${w.median}, ${w.few(d.samples)}`}>{duration(d.p50)}</span>);

function Compare({ a, b }: { a: AgentStats; b: AgentStats }) {
  const types = [...new Set([...Object.keys(a.byType), ...Object.keys(b.byType)])].sort();
  return (
    <Section title={w.byType}>
      <div className="scroll" tabIndex={0} role="region" aria-label={w.byType}>
        <table className="list">
          <thead>
            <tr>
              <th scope="col">{words.incidents.type}</th>
              {[a, b].map((x) => <th scope="col" key={nameOf(x.agent)}>{nameOf(x.agent)}: {w.columns.recovered}</th>)}
            </tr>
          </thead>
          <tbody>
            {types.map((t) => (
              <tr key={t}>
                <td><Type type={t} /></td>
                {[a, b].map((x) => <td className="num" key={nameOf(x.agent)}><Share of={x.byType[t]?.recovered ?? 0} all={x.byType[t]?.known ?? 0} compare /></td>)}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Section>
  );
}
