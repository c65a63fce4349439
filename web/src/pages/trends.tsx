// How many of what, over time.
import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { Link } from "wouter";
import type { Schemas } from "../api/client";
import { ask } from "../api/queries";
import { compact, count, dayAndHour } from "../lib/time";
import { Choice, Empty, Page, Ready, Section, Untrusted } from "../ui/base";
import { Chart } from "../ui/chart";
import { useNamespace, useParam, useTitle } from "../ui/state";
import { typeOf, words } from "../words";

const w = words.trends;

export default function Trends() {
  useTitle(w.title);
  const [namespace] = useNamespace();
  const [range, setRange] = useParam("range", "24h");
  const [by, setBy] = useParam<"type" | "namespace">("by", "type");
  const trends = useQuery(ask.trends({ timeRange: range, namespace, by: namespace ? "type" : by }));
  return (
    <Page
      title={w.title}
      wide
      actions={
        <>
          {!namespace && <Choice label={w.by} value={by} options={{ type: w.byType, namespace: w.byNamespace }} onChange={setBy} />}
          <Choice label={w.range} value={range} options={words.ranges} onChange={setRange} />
        </>
      }
    >
      <Ready of={trends}>
        {(t) =>
          t.buckets.every((b) => b.total === 0) ? <Empty title={w.none} /> : (
            <>
              <div className="panel"><Chart trends={t} /></div>
              <details>
                <summary>{w.table}</summary>
                <div className="scroll" tabIndex={0} role="region" aria-label={w.table}>
                  <table className="list">
                    <thead><tr><th scope="col">{w.start}</th>{t.keys.map((k) => <th scope="col" key={k}>{typeOf(k)}</th>)}<th scope="col">{w.total}</th></tr></thead>
                    <tbody>{t.buckets.filter((b) => b.total > 0).map((b) => <tr key={b.start}><td>{dayAndHour(new Date(b.start))}</td>{t.keys.map((k) => <td className="num" key={k}>{count(b.counts[k] ?? 0)}</td>)}<td className="num">{count(b.total)}</td></tr>)}</tbody>
                  </table>
                </div>
              </details>
            </>
          )
        }
      </Ready>
      <div className="two">
        <Heat namespace={namespace} />
        <Movers namespace={namespace} range={range} />
      </div>
    </Page>
  );
}

/** How many events in each hour of each weekday, in the browser's zone; Monday first. */
export function heat(buckets: Schemas["Bucket"][]): number[][] {
  const days = Array.from({ length: 7 }, () => Array.from({ length: 24 }, () => 0));
  for (const b of buckets) {
    const t = new Date(b.start);
    days[(t.getDay() + 6) % 7]![t.getHours()]! += b.total;
  }
  return days;
}

function Heat({ namespace }: { namespace: string }) {
  const week = useQuery(ask.trends({ timeRange: "7d", namespace, interval: "1h" }));
  return (
    <Section title={w.heat}>
      <Ready of={week}>
        {(t) => {
          const days = heat(t.buckets);
          const most = Math.max(1, ...days.flat());
          return (
            <div className="scroll" tabIndex={0} role="group" aria-label={w.heat}>
            <table className="heat">
              <thead><tr><td />{days[0]!.map((_, h) => <th key={h} scope="col">{h % 6 === 0 ? h : <span className="visually-hidden">{h}</span>}</th>)}</tr></thead>
              <tbody>
                {days.map((hours, d) => (
                  <tr key={d}>
                    <th scope="row">{w.weekdays[d]}</th>
                    {hours.map((n, h) => <td key={h} title={`${w.weekdays[d]} ${h}:00 · ${count(n)}`}><span className="cell" style={{ opacity: n === 0 ? 0.08 : 0.25 + (0.75 * n) / most }} /><span className="visually-hidden">{n}</span></td>)}
                  </tr>
                ))}
              </tbody>
            </table>
            </div>
          );
        }}
      </Ready>
    </Section>
  );
}

function Movers({ namespace, range }: { namespace: string; range: string }) {
  const hours: Record<string, number> = { "1h": 1, "6h": 6, "24h": 24, "7d": 168 };
  const startTime = useMemo(() => new Date(Math.floor(Date.now() / 60_000) * 60_000 - (hours[range] ?? 24) * 3_600_000).toISOString(), [range]);
  const incidents = useQuery(ask.incidents({ namespace, startTime, limit: 1000 }));
  const top = useMemo(() => {
    const sums = new Map<string, { namespace: string; name: string; n: number }>();
    for (const i of incidents.data?.items ?? []) {
      const key = `${i.namespace}/${i.workload.name}`;
      const sum = sums.get(key) ?? { namespace: i.namespace, name: i.workload.name, n: 0 };
      sum.n++;
      sums.set(key, sum);
    }
    return [...sums.values()].sort((a, b) => b.n - a.n).slice(0, 10);
  }, [incidents.data]);
  const most = top[0]?.n ?? 1;
  return (
    <Section title={w.movers} aside={<span className="dim small">{incidents.data && incidents.data.total > 1000 && w.moversHint}</span>}>
      <Ready of={incidents}>
        {() => (
          <ul className="movers">
            {top.map((m) => (
              <li key={`${m.namespace}/${m.name}`}>
                <Link href={`/incidents?namespace=${encodeURIComponent(m.namespace)}&workload=${encodeURIComponent(m.name)}&range=${range}`}><span className="dim">{m.namespace}/</span><Untrusted text={m.name} /></Link>
                <span className="track"><span className="bar" style={{ width: `${(100 * m.n) / most}%` }} /></span>
                <span className="num">{compact(m.n)}</span>
              </li>
            ))}
          </ul>
        )}
      </Ready>
    </Section>
  );
}
