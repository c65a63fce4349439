// How khook itself does.
import { useQuery } from "@tanstack/react-query";
import type { Health, Schemas } from "../api/client";
import { ask } from "../api/queries";
import { bytes, count, duration } from "../lib/time";
import { Facts, Mark, Page, Ready, Section, Time, Untrusted, type Tone } from "../ui/base";
import { useTitle } from "../ui/state";
import { words } from "../words";

const w = words.health;
const tones: Record<string, Tone> = { healthy: "good", degraded: "wait", unhealthy: "bad", up: "good", down: "bad", starting: "busy" };

export default function HealthPage() {
  useTitle(w.title);
  const health = useQuery(ask.health());
  return (
    <Page title={w.title} wide>
      <Ready of={health}>{(h) => <Whole h={h} />}</Ready>
    </Page>
  );
}

const Status = ({ status }: { status: string }) => <Mark tone={tones[status] ?? "plain"}>{w.status[status] ?? status}</Mark>;

function Whole({ h }: { h: Health }) {
  const all = Boolean(h.pipeline);
  return (
    <>
      <div className="health-top">
        <span className="big"><Status status={h.status} /></span>
        {all && <span className="dim">{w.states[h.pipeline.state]} · {w.version} {h.version} · {w.uptime} {duration(h.uptimeSeconds)}</span>}
      </div>
      {!all && <p className="dim">{w.withheld}</p>}
      {(h.reasons ?? []).length > 0 && <Section title={w.reasons}><ul>{h.reasons.map((r) => <li key={r}>{r}</li>)}</ul></Section>}
      {(h.warnings ?? []).length > 0 && <Section title={w.warnings}><ul>{h.warnings.map((r) => <li key={r}>{r}</li>)}</ul></Section>}
      {all && <Parts h={h} />}
      {all && <More />}
    </>
  );
}

function Parts({ h }: { h: Health }) {
  return (
    <div className="panels">
      <Section title={w.sources} className="panel">
        {h.plugins.length === 0 && <p className="nothing">{w.states.standby}</p>}
        <ul className="lines">
          {h.plugins.map((p) => (
            <li key={`${p.name} ${p.namespace}`} className="condition">
              <Mark tone={tones[p.state] ?? "plain"}>{w.sourceState[p.state] ?? p.state}</Mark>
              <span className="strong">{p.name}</span>
              <span className="dim">{w.heard} <Time at={p.lastContact} /> · {w.lag} {p.lagSeconds < 1 ? `${Math.round(p.lagSeconds * 1000)} ms` : duration(p.lagSeconds)}{p.restarts > 0 && ` · ${w.restarts} ${count(p.restarts)} ×`}</span>
              {p.error && <p className="error-text"><Untrusted text={p.error} /></p>}
            </li>
          ))}
        </ul>
      </Section>
      <Section title={w.pipeline} className="panel">
        <Status status={h.pipeline.status} />
        <Facts rows={[[w.role, w.states[h.pipeline.state]], [words.now.strip.open, count(h.pipeline.openIncidents)], [w.pending, duration(h.pipeline.oldestPendingSeconds)], [w.reasons, h.pipeline.reason]]} />
      </Section>
      <Section title={w.kagent} className="panel">
        <Status status={h.kagent.status} />
        <Facts rows={[[w.heard, <Time key="t" at={h.kagent.checkedAt} />], [w.reasons, h.kagent.reason && <Untrusted text={h.kagent.reason} />]]} />
      </Section>
      <Section title={w.server} className="panel">
        <Status status={h.server.status} />
        <Facts rows={[[w.requests, count(h.server.requests)], [w.errors, count(h.server.errors)], [w.streams, count(h.memory.streams)], [w.connections, count(h.memory.connections)]]} />
      </Section>
    </div>
  );
}

function More() {
  const d = useQuery(ask.diagnostics());
  return (
    <Ready of={d}>
      {(x: Schemas["Diagnostics"]) => (
        <>
          <div className="panels">
            <Section title={w.store} className="panel">
              <Facts
                rows={[
                  [w.size, bytes(x.store.sizeBytes)], [w.retention, duration(x.store.retentionSeconds)], [w.read, `${x.store.readLatencyMs.toFixed(1)} ms`],
                  [w.write, x.store.writeLatencyMs !== undefined && `${x.store.writeLatencyMs.toFixed(1)} ms`], [w.errors, x.store.writeError],
                ]}
              />
            </Section>
            <Section title={w.queues} className="panel">
              <Facts rows={x.queues.map((q) => [q.name, <>{count(q.depth)}{q.limit !== undefined && <span className="dim"> / {count(q.limit)}</span>}{q.oldestAgeSeconds !== undefined && <span className="dim"> · {w.oldest} {duration(q.oldestAgeSeconds)}</span>}</>])} />
            </Section>
            <Section title={w.memory} className="panel">
              <Facts rows={[[w.memory, <>{bytes(x.runtime.memoryBytes)}{x.runtime.memoryLimit !== undefined && <span className="dim"> / {bytes(x.runtime.memoryLimit)}</span>}</>], ["Go", x.build.goVersion], [w.version, `${x.build.version}${x.build.revision ? ` (${x.build.revision.slice(0, 8)})` : ""}`], [w.replica, x.build.platform]]} />
            </Section>
          </div>
          <details>
            <summary>{w.settings}</summary>
            <Facts rows={Object.entries(x.settings).map(([k, v]) => [k, <code key={k}>{typeof v === "string" ? v : JSON.stringify(v)}</code>])} />
          </details>
        </>
      )}
    </Ready>
  );
}
