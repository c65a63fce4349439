// The calls to agents: first those that wait for somebody.
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { useWindowVirtualizer } from "@tanstack/react-virtual";
import { useCallback, useEffect, useMemo, useRef } from "react";
import { Link } from "wouter";
import type { Delivery, InboxItem } from "../api/client";
import { ask, type DeliveryFilter } from "../api/queries";
import { compact } from "../lib/time";
import { ActionButton } from "../ui/actions";
import { Choice, DeliveryState, deliveryPath, Empty, Failed, HookLink, Loading, Mark, Outcome, Page, Ready, Search, Time, Took, Untrusted } from "../ui/base";
import { useGo, useNamespace, useParam, useRows, useTitle } from "../ui/state";
import { words } from "../words";

const w = words.deliveries;
type Tab = keyof typeof w.tabs;
const states: Partial<Record<Tab, Delivery["state"]>> = { working: "working", pending: "pending", failed: "failed", expired: "expired", succeeded: "succeeded" };

export default function Deliveries() {
  useTitle(w.title);
  const [namespace] = useNamespace();
  const [tab, setTab] = useParam<Tab>("tab", "all");
  const [agent, setAgent] = useParam("agent");
  const [hook, setHook] = useParam("hook");
  const state = states[tab];
  const filter: DeliveryFilter = { ...(namespace && { namespace }), ...(state && { state }), ...(agent.includes("/") && { agent }), ...(hook && { hook }) };
  return (
    <Page title={w.title} wide>
      <div className="filters">
        <Choice label={words.incidents.status} value={tab} options={w.tabs} onChange={setTab} />
        {tab !== "inbox" && <Search label={w.agent} value={agent} onChange={setAgent} placeholder="namespace/name" />}
        {tab !== "inbox" && <Search label={w.hook} value={hook} onChange={setHook} />}
      </div>
      {tab === "inbox" ? <Inbox namespace={namespace} /> : <List filter={filter} />}
    </Page>
  );
}

function Inbox({ namespace }: { namespace: string }) {
  const inbox = useQuery(ask.inbox(namespace));
  return (
    <Ready of={inbox}>
      {(box) => (box.data.length === 0 ? <Empty title={w.inboxNone} good>{w.inboxHint}</Empty> : <ul className="cards">{box.data.map((i) => <Waiting key={`${i.kind} ${i.deliveryId} ${i.group}`} item={i} />)}</ul>)}
    </Ready>
  );
}

function Waiting({ item }: { item: InboxItem }) {
  const target = { id: item.deliveryId ?? "", hook: item.hook, questionId: item.questionId, text: item.text };
  return (
    <li className={`card ${item.kind}`}>
      <div className="card-head">
        <Mark tone="wait">{words.kinds[item.kind]}</Mark>
        {item.deliveryId ? <Link href={deliveryPath(item.deliveryId)} className="strong"><Untrusted text={item.group} /></Link> : <Untrusted text={item.group} />}
        <span className="dim"><HookLink hook={item.hook} />{item.agent && ` · ${item.agent.namespace}/${item.agent.name}`}</span>
        <span className="age"><Time at={item.since} /></span>
      </div>
      {item.kind === "approval" ? <pre className="exact" tabIndex={0}><Untrusted text={item.text ?? item.textsWithheld ?? ""} /></pre> : <p className="says whole"><Untrusted text={item.text ?? item.textsWithheld ?? ""} /></p>}
      <div className="buttons start">
        {item.kind === "question" && <ActionButton action="reply" target={target} primary />}
        {item.kind === "approval" && <><ActionButton action="approve" target={target} primary /><ActionButton action="reject" target={target} /></>}
        {item.kind === "stalled" && <ActionButton action="retry" target={target} primary />}
        {item.kind === "loop-guard" && <ActionButton action="resume" target={target} primary />}
        {item.kind !== "loop-guard" && <ActionButton action="cancel" target={target} />}
      </div>
    </li>
  );
}

function List({ filter }: { filter: DeliveryFilter }) {
  const pages = useInfiniteQuery(ask.deliveryPages(filter));
  const rows = useMemo(() => pages.data?.pages.flatMap((p) => p.items) ?? [], [pages.data]);
  const go = useGo();
  const list = useRef<HTMLDivElement>(null);
  const virtual = useWindowVirtualizer({ count: rows.length, estimateSize: () => 38, overscan: 12, scrollMargin: list.current?.offsetTop ?? 0, getItemKey: (i) => rows[i]?.id ?? i });
  const items = virtual.getVirtualItems();
  const last = items.at(-1)?.index ?? 0;
  const { hasNextPage, isFetchingNextPage, fetchNextPage } = pages;
  useEffect(() => {
    if (hasNextPage && !isFetchingNextPage && last >= rows.length - 25) void fetchNextPage();
  }, [last, rows.length, hasNextPage, isFetchingNextPage, fetchNextPage]);
  const at = useRows(rows.length, useCallback((i: number) => rows[i] && go(deliveryPath(rows[i].id)), [rows, go]), useCallback((i: number) => virtual.scrollToIndex(i, { align: "auto" }), [virtual]));
  if (pages.error && rows.length === 0) return <Failed error={pages.error} retry={() => void pages.refetch()} />;
  if (!pages.data) return <Loading rows={10} />;
  if (rows.length === 0) return <Empty title={w.none} />;
  return (
    <div className="grid deliveries" role="table" aria-label={w.title} aria-rowcount={hasNextPage ? -1 : rows.length}>
      <div role="row" className="row head">
        {Object.values(w.columns).map((c) => <span key={c} role="columnheader">{c}</span>)}
      </div>
      <div ref={list} role="rowgroup" className="rows" style={{ height: virtual.getTotalSize() }}>
        {items.map((v) => {
          const d = rows[v.index]!;
          return (
            <div key={d.id} role="row" aria-rowindex={v.index + 1} className={v.index === at ? "row selected" : "row"} style={{ transform: `translateY(${v.start - virtual.options.scrollMargin}px)` }}>
              <span role="cell" className="c-end"><DeliveryState d={d} /></span>
              <span role="cell"><Link href={deliveryPath(d.id)} className="stretch">{d.agent.name}</Link></span>
              <span role="cell"><Untrusted text={d.group} /></span>
              <span role="cell" className="c-hook"><HookLink hook={d.hook} /></span>
              <span role="cell" className="c-seen"><Time at={d.createdAt} /></span>
              <span role="cell" className="c-lasted"><Took from={d.calledAt ?? d.createdAt} to={d.endedAt} /></span>
              <span role="cell" className="c-outcome"><Outcome outcome={d.outcome} /></span>
              <span role="cell" className="c-events num dim">{d.tokens ? compact(d.tokens.total) : words.none}</span>
            </div>
          );
        })}
      </div>
    </div>
  );
}
