// All incidents: filtered by the URL, as many as there are, and nothing moves while it is read.
import { useInfiniteQuery, useQuery, useQueryClient } from "@tanstack/react-query";
import { useWindowVirtualizer } from "@tanstack/react-virtual";
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { Link, useSearchParams } from "wouter";
import type { Incident, Schemas } from "../api/client";
import { ask, type IncidentFilter } from "../api/queries";
import { compact, duration } from "../lib/time";
import { Dialog, Empty, Failed, IncidentState, incidentPath, Loading, Page, Search, Select, Time, Type, Untrusted, WorkloadName } from "../ui/base";
import { useGo, useNamespace, useParam, useRows, useTitle, useViews } from "../ui/state";
import { words } from "../words";

const w = words.incidents;

export default function Incidents() {
  useTitle(w.title);
  const [namespace] = useNamespace();
  const [text, setText] = useParam("text");
  const [workload, setWorkload] = useParam("workload");
  const [agent, setAgent] = useParam("agent");
  const [type, setType] = useParam("type");
  const [status, setStatus] = useParam("status");
  const [range, setRange] = useParam("range");
  const startTime = useMemo(() => since(range), [range]);
  const filter: IncidentFilter = {
    ...(namespace && { namespace }), ...(text && { text }), ...(workload && { workload }), ...(agent.includes("/") && { agent }), ...(type && { eventType: type as Incident["eventType"] }), ...(status && { status: status as "firing" | "resolved" }), ...(startTime && { startTime }),
  };
  return (
    <Page title={w.title} wide actions={<Views />}>
      <div className="filters">
        <Search label={w.text} value={text} onChange={setText} placeholder={w.textHint} />
        <Search label={w.search} value={workload} onChange={setWorkload} />
        <Select label={w.type} value={type} onChange={setType} options={{ "": words.all, ...words.types }} />
        <Select label={w.status} value={status} onChange={setStatus} options={{ "": words.all, firing: words.firing, resolved: words.resolved }} />
        <Select label={w.range} value={range} onChange={setRange} options={w.ranges} />
        <Search label={words.deliveries.agent} value={agent} onChange={setAgent} placeholder="namespace/name" />
        {(text || agent || workload || type || status || range) && (
          <Link href="/incidents" className="clear">
            {w.clear}
          </Link>
        )}
      </div>
      <List filter={filter} filtered={Boolean(text || agent || workload || type || status || range)} />
    </Page>
  );
}

/** When a range began, at a whole minute, so that the same question is asked again. */
function since(range: string): string | undefined {
  const hours: Record<string, number> = { "1h": 1, "6h": 6, "24h": 24, "7d": 168 };
  const h = hours[range];
  if (!h) return undefined;
  return new Date(Math.floor(Date.now() / 60_000) * 60_000 - h * 3_600_000).toISOString();
}

const rowHeight = 38;

function List({ filter, filtered }: { filter: IncidentFilter; filtered: boolean }) {
  const cache = useQueryClient();
  const pages = useInfiniteQuery(ask.incidentPages(filter));
  const head = useQuery(ask.incidents({ ...filter, limit: 100 })); // what is newest now, and how what is shown goes on
  const rows = useMemo(() => pages.data?.pages.flatMap((p) => p.items) ?? [], [pages.data]);
  const fresh = useMemo(() => {
    const newest = head.data?.items ?? [];
    const known = new Set(rows.map((r) => r.id));
    return newest.filter((i) => !known.has(i.id)).length;
  }, [head.data, rows]);
  const now = useMemo(() => new Map((head.data?.items ?? []).map((i) => [i.id, i])), [head.data]);
  const go = useGo();
  const list = useRef<HTMLDivElement>(null);
  const virtual = useWindowVirtualizer({ count: rows.length, estimateSize: () => rowHeight, overscan: 12, scrollMargin: list.current?.offsetTop ?? 0, getItemKey: (i) => rows[i]?.id ?? i });
  const items = virtual.getVirtualItems();
  const last = items.at(-1)?.index ?? 0;
  const { hasNextPage, isFetchingNextPage, fetchNextPage } = pages;
  useEffect(() => {
    if (hasNextPage && !isFetchingNextPage && last >= rows.length - 25) void fetchNextPage();
  }, [last, rows.length, hasNextPage, isFetchingNextPage, fetchNextPage]);
  const at = useRows(rows.length, useCallback((i: number) => rows[i] && go(incidentPath(rows[i].id)), [rows, go]), useCallback((i: number) => virtual.scrollToIndex(i, { align: "auto" }), [virtual]));
  if (pages.error && rows.length === 0) return <Failed error={pages.error} retry={() => void pages.refetch()} />;
  if (!pages.data) return <Loading rows={10} />;
  if (rows.length === 0) return <Empty title={filtered ? w.none : w.noneEver}>{filtered && w.noneHint}</Empty>;
  const total = head.data ?? pages.data.pages[0]!;
  return (
    <>
      <div className="list-head">
        <span className="dim" role="status">{w.total(total.total, Boolean(total.totalIsLowerBound))}</span>
        {fresh > 0 && (
          <button type="button" className="fresh" onClick={() => { window.scrollTo(0, 0); void cache.resetQueries({ queryKey: ["incident-pages"] }); }}>
            {w.fresh(fresh)}
          </button>
        )}
      </div>
      <div className="grid incidents" role="table" aria-label={w.title} aria-rowcount={pages.hasNextPage ? -1 : rows.length}>
        <div role="row" className="row head">
          {Object.values(w.columns).map((c) => (
            <span key={c} role="columnheader">{c}</span>
          ))}
        </div>
        <div ref={list} role="rowgroup" className="rows" style={{ height: virtual.getTotalSize() }}>
          {items.map((v) => {
            const i = now.get(rows[v.index]!.id) ?? rows[v.index]!;
            return <Row key={i.id} i={i} index={v.index} top={v.start - virtual.options.scrollMargin} selected={v.index === at} />;
          })}
        </div>
      </div>
      {pages.isFetchingNextPage && <p className="dim">{words.load.more}</p>}
    </>
  );
}

function Row({ i, index, top, selected }: { i: Schemas["Incident"]; index: number; top: number; selected: boolean }) {
  return (
    <div role="row" aria-rowindex={index + 1} className={selected ? "row selected" : "row"} style={{ transform: `translateY(${top}px)` }}>
      <span role="cell" className="c-what">
        <Type type={i.eventType} />
        <Link href={incidentPath(i.id)} className="stretch" title={i.message}><Untrusted text={i.message} /></Link>
      </span>
      <span role="cell" className="c-workload"><WorkloadName namespace={i.namespace} workload={i.workload} /></span>
      <span role="cell" className="c-container dim">{i.container ?? words.none}</span>
      <span role="cell" className="c-seen"><Time at={i.firstSeen} /></span>
      <span role="cell" className="c-lasted num">{duration(i.durationSeconds)}</span>
      <span role="cell" className="c-events num">{compact(i.events)}</span>
      <span role="cell" className="c-end"><IncidentState i={i} /></span>
    </div>
  );
}

function Views() {
  const [params] = useSearchParams();
  const { views, save, remove } = useViews("incidents");
  const [naming, setNaming] = useState(false);
  const [name, setName] = useState("");
  const query = params.toString();
  return (
    <>
      {views.map((v) => (
        <span key={v.name} className="view">
          <Link href={`/incidents?${v.query}`} aria-current={v.query === query ? "true" : undefined}>{v.name}</Link>
          <button type="button" className="plain" aria-label={`${w.remove} ${v.name}`} onClick={() => remove(v.name)}>×</button>
        </span>
      ))}
      {query && <button type="button" onClick={() => setNaming(true)}>{w.save}</button>}
      {naming && (
        <Dialog title={w.save} onClose={() => setNaming(false)}>
          <form onSubmit={(e) => { e.preventDefault(); save({ name: name.trim(), query }); setNaming(false); setName(""); }}>
            <label className="field block">
              <span>{w.saveName}</span>
              <input value={name} required maxLength={60} autoFocus onChange={(e) => setName(e.target.value)} />
            </label>
            <div className="buttons">
              <button type="button" onClick={() => setNaming(false)}>{words.cancel}</button>
              <button type="submit" className="primary">{w.save}</button>
            </div>
          </form>
        </Dialog>
      )}
    </>
  );
}
