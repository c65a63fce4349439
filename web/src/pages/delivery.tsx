// One call to an agent: what it was asked, what it does and did, and what a person can do about it.
import { useQuery } from "@tanstack/react-query";
import { Link, useParams } from "wouter";
import type { DeliveryDetail, LogEntry } from "../api/client";
import { ask } from "../api/queries";
import { compact, count, duration } from "../lib/time";
import { ActionButton } from "../ui/actions";
import { deliveryPath, DeliveryState, Facts, HookLink, IncidentState, incidentPath, Mark, Outcome, Page, Prompt, Ready, Section, Time, Took, Type, Untrusted } from "../ui/base";
import { Markdown } from "../ui/markdown";
import { useTitle } from "../ui/state";
import { words } from "../words";
import { Proof } from "./incident";

const w = words.delivery;

export default function DeliveryPage() {
  const { id } = useParams<{ id: string }>();
  const delivery = useQuery(ask.delivery(id));
  useTitle(delivery.data ? `${delivery.data.agent.name}, ${delivery.data.group}` : w.title);
  return <Ready of={delivery} rows={8} whole>{(d) => <Whole d={d} />}</Ready>;
}

const ended = ["succeeded", "failed", "rejected", "canceled", "expired"];

function Whole({ d }: { d: DeliveryDetail }) {
  const target = { id: d.id, hook: d.hook, questionId: d.questionId, text: d.question };
  const over = ended.includes(d.state);
  return (
    <Page
      wide
      title={<><DeliveryState d={d} /> {d.agent.name} <span className="dim">·</span> <Untrusted text={d.group} /></>}
      actions={
        <>
          {!over && <ActionButton action="cancel" target={target} />}
          {(over || d.stalledSince) && <ActionButton action="retry" target={target} />}
        </>
      }
    >
      <div className="story">
        <div className="story-main">
          {d.state === "input-required" && (
            <Section title={d.needsApproval ? w.wants : w.asks} className="waiting">
              <pre className="exact" tabIndex={0}><Untrusted text={d.question ?? d.textsWithheld ?? ""} /></pre>
              <div className="buttons start">
                {d.needsApproval ? (<><ActionButton action="approve" target={target} primary /><ActionButton action="reject" target={target} /></>) : <ActionButton action="reply" target={target} primary />}
              </div>
            </Section>
          )}
          {d.stalledSince && <div className="warning"><Mark tone="wait">{w.stalled(new Date(d.stalledSince).toLocaleTimeString())}</Mark></div>}
          {d.error && <Section title={w.error}><p className="error-text"><Untrusted text={d.error} /></p></Section>}
          {d.textsWithheld && <Section title={w.withheld}><p><Untrusted text={d.textsWithheld} /></p></Section>}
          {d.answer && <Section title={w.answer}><div className="panel"><Markdown text={d.answer} /></div></Section>}
          <Section title={w.log}>
            {d.log.length === 0 ? <p className="nothing">{w.nothing}</p> : <ol className="timeline">{d.log.map((e, i) => <Entry key={i} e={e} />)}</ol>}
          </Section>
          {d.prompt && <Section title={w.prompt}><p className="dim">{words.incident.promptHint}</p><Prompt text={d.prompt} /></Section>}
          <details>
            <summary>{words.raw}</summary>
            <pre className="raw" tabIndex={0}><Untrusted text={JSON.stringify(d, null, 2)} /></pre>
          </details>
        </div>
        <div className="story-side">
          {d.incidents[0] && <Proof i={d.incidents[0]} d={d} />}
          <Section title={w.facts}>
            <Facts
              rows={[
                [words.deliveries.columns.agent, `${d.agent.namespace}/${d.agent.name}`],
                [words.deliveries.columns.hook, <HookLink key="h" hook={d.hook} />],
                [w.config, <span className="mono" key="c">{d.config}</span>],
                [words.incidents.type, <Type key="t" type={d.eventType} />],
                [w.due, <Time key="d" at={d.createdAt} />],
                [w.called, d.calledAt && <Time at={d.calledAt} />],
                [w.ended, d.endedAt && <><Time at={d.endedAt} /> <span className="dim">(<Took from={d.calledAt ?? d.createdAt} to={d.endedAt} />)</span></>],
                [w.attempt, d.attempt > 0 && count(d.attempt)],
                [w.next, !over && d.nextAt && <Time at={d.nextAt} />],
                [w.timeout, duration(d.timeoutSeconds)],
                [words.deliveries.columns.outcome, d.outcome && <Outcome outcome={d.outcome} />],
                [w.skipped, d.skipped && (words.dispositions[d.skipped] ?? d.skipped)],
                [w.tokens, d.tokens && <>{compact(d.tokens.total)} <span className="dim">({w.tokensOf(compact(d.tokens.prompt), compact(d.tokens.completion))})</span></>],
                [w.held, d.heldBack && w.heldText((d.heldBack.overBudget ?? 0) + (d.heldBack.loopGuard ?? 0) + (d.heldBack.paused ?? 0))],
                [w.retryOf, d.retryOf && <Link href={deliveryPath(d.retryOf)}>{d.retryOf.slice(0, 8)}</Link>],
                [w.requestedBy, d.requestedBy],
                [w.task, d.taskId && <span className="mono"><Untrusted text={d.taskId} /></span>],
              ]}
            />
          </Section>
          <Section title={w.incidents}>
            <ul className="lines">
              {d.incidents.map((i) => (
                <li key={i.id}>
                  <Link href={incidentPath(i.id)} className="line">
                    <Type type={i.eventType} /> <span className="mono ellipsis"><Untrusted text={i.resourceName} /></span> <IncidentState i={i} />
                  </Link>
                </li>
              ))}
            </ul>
          </Section>
        </div>
      </div>
    </Page>
  );
}

function Entry({ e }: { e: LogEntry }) {
  const tool = e.kind === "tool-call" || e.kind === "tool-answer";
  const tone = e.kind === "question" ? "wait" : e.kind === "outcome" ? "good" : e.kind === "stall" ? "bad" : e.kind === "person" || e.kind === "reply" ? "plain" : "busy";
  return (
    <li className={`entry ${tone}`}>
      <span className="when"><Time at={e.at} exact /></span>
      <span className="knot" aria-hidden="true" />
      <div className="what">
        <span className="tag">{words.logKinds[e.kind] ?? e.kind}</span> {e.name && <code><Untrusted text={e.name} /></code>} {e.by && <span className="dim"><Untrusted text={e.by} /></span>} {e.state && <span className="tag"><Untrusted text={e.state} /></span>}
        {e.text && (tool ? <pre className="said" tabIndex={0}><Untrusted text={e.text} /></pre> : e.kind === "artifact" || e.kind === "message" ? <Markdown text={e.text} /> : <div className="said"><Untrusted text={e.text} /></div>)}
        {e.truncated && <span className="dim">…</span>}
      </div>
    </li>
  );
}
