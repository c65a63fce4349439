// Why a Hook called its agent, or did not: each step that khook takes, up to the first no.
import { useQuery } from "@tanstack/react-query";
import { useState, type ReactNode } from "react";
import { Link, useSearchParams } from "wouter";
import type { Schemas } from "../api/client";
import { ask } from "../api/queries";
import { deliveryPath, Empty, HookLink, incidentPath, Mark, Page, Ready, Section, Select, Time, Untrusted } from "../ui/base";
import { useMe, useNamespace, useTitle } from "../ui/state";
import { words } from "../words";

const w = words.why;

export default function WhyPage() {
  useTitle(w.title);
  const [params, setParams] = useSearchParams();
  const [namespace, setNamespace] = useNamespace();
  const hook = params.get("hook") ?? "";
  const pod = params.get("pod") ?? "";
  const incident = params.get("incident") ?? "";
  const hooks = useQuery(ask.hooks(useMe()?.everywhere.read ? "" : namespace));
  const names = [...new Set((hooks.data?.items ?? []).map((h) => h.namespace))].sort();
  const [typed, setTyped] = useState({ pod, incident });
  const asked = Boolean(namespace && (pod || incident));
  return (
    <Page title={w.title} lead={w.lead} wide>
      <form
        className="filters"
        onSubmit={(e) => {
          e.preventDefault();
          setParams((p) => {
            const next = new URLSearchParams(p);
            for (const [k, v] of Object.entries(typed)) if (v.trim()) next.set(k, v.trim()); else next.delete(k);
            return next;
          });
        }}
      >
        <Select label={words.namespace} value={namespace} onChange={setNamespace} options={Object.fromEntries([["", words.none], ...names.map((n) => [n, n])])} />
        <Select label={w.hook} value={hook} onChange={(v) => setParams((p) => { const n = new URLSearchParams(p); if (v) n.set("hook", v); else n.delete("hook"); return n; })} options={Object.fromEntries([["", w.anyHook], ...(hooks.data?.items ?? []).filter((h) => h.namespace === namespace).map((h) => [h.name, h.name])])} />
        <label className="field"><span>{w.pod}</span><input type="search" data-search value={typed.pod} spellCheck={false} onChange={(e) => setTyped({ ...typed, pod: e.target.value })} /></label>
        <label className="field"><span>{w.incident}</span><input type="search" value={typed.incident} spellCheck={false} onChange={(e) => setTyped({ ...typed, incident: e.target.value })} /></label>
        <button type="submit" className="primary">{w.ask}</button>
      </form>
      {asked ? <Answers namespace={namespace} hook={hook} query={{ ...(pod && { pod }), ...(incident && { incident }) }} /> : <Empty title={w.pick} />}
    </Page>
  );
}

function Answers({ namespace, hook, query }: { namespace: string; hook: string; query: { pod?: string; incident?: string } }) {
  const why = useQuery(ask.why(namespace, hook, query));
  return (
    <Ready of={why}>
      {(all) =>
        all.length === 0 ? <Empty title={w.none} /> : (
          <>
            {all.map((a) => (
              <Section key={`${a.hook.namespace}/${a.hook.name}`} title={`${a.hook.namespace}/${a.hook.name}`} aside={<span className="dim">{a.fits ? w.fits : w.near}</span>}>
                <p className="dim">
                  <HookLink hook={a.hook} /> {a.resourceName && <>· <Untrusted text={a.resourceName} /></>} {a.incidentId && <>· <Link href={incidentPath(a.incidentId)}>{a.incidentId.slice(0, 8)}</Link></>}
                </p>
                {a.answers.map((x, i) => <One key={i} a={x} why={a} />)}
              </Section>
            ))}
          </>
        )
      }
    </Ready>
  );
}

function One({ a, why }: { a: Schemas["WhyAnswer"]; why: Schemas["Why"] }) {
  const no = a.steps.find((s) => !s.ok);
  return (
    <article className="call">
      <header>
        <Mark tone={no ? "bad" : "good"}>{no ? w.stopped : w.called}</Mark>
        <span className="strong">{a.config}</span>
        <span className="dim">{a.basis === "recorded" ? w.recorded : w.nowBasis}</span>
        {a.decidedAt && <span className="age"><Time at={a.decidedAt} /></span>}
      </header>
      <ol className="checklist">
        {a.steps.map((s) => (
          <li key={s.step} className={s.ok ? "ok" : "no"}>
            <Mark tone={s.ok ? "good" : "bad"}>{w.steps[s.step] ?? s.step}</Mark>
            <span><Untrusted text={s.text} /> {proofOf(s.step, a, why)}</span>
          </li>
        ))}
      </ol>
    </article>
  );
}

/** Where a step can be looked at. */
function proofOf(step: string, a: Schemas["WhyAnswer"], why: Schemas["Why"]): ReactNode {
  if (["seen", "open", "cause"].includes(step)) return why.incidentId && <Link href={incidentPath(why.incidentId)}>{words.incident.title}</Link>;
  if (["window", "call", "loop-guard"].includes(step)) return a.deliveryId && <Link href={deliveryPath(a.deliveryId)}>{words.delivery.title}</Link>;
  return <Link href={`/hooks/${encodeURIComponent(why.hook.namespace)}/${encodeURIComponent(why.hook.name)}`}>{words.hook.configurations}</Link>;
}
