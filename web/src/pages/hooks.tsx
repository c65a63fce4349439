// All Hooks, and how each does.
import { useQuery } from "@tanstack/react-query";
import { useCallback } from "react";
import type { Hook } from "../api/client";
import { ask } from "../api/queries";
import { compact, count } from "../lib/time";
import { Empty, HookLink, hookPath, Mark, Page, Ready, Time, Type } from "../ui/base";
import { useGo, useNamespace, useRows, useTitle } from "../ui/state";
import { words } from "../words";

const w = words.hooks;

export function HookState({ h }: { h: Hook }) {
  if (h.paused) return <Mark tone="wait">{w.paused}</Mark>;
  if (h.suspended) return <Mark tone="quiet">{w.suspended}</Mark>;
  if (h.ready === "True") return <Mark tone="good">{w.ready}</Mark>;
  return <Mark tone={h.ready === "False" ? "bad" : "plain"}>{h.ready === "False" ? w.notReady : w.unknown}</Mark>;
}

export default function Hooks() {
  useTitle(w.title);
  const [namespace] = useNamespace();
  const hooks = useQuery(ask.hooks(namespace));
  const items = hooks.data?.items ?? [];
  const go = useGo();
  const at = useRows(items.length, useCallback((i: number) => items[i] && go(hookPath(items[i])), [items, go]));
  const c = w.columns;
  return (
    <Page title={w.title} wide>
      <Ready of={hooks}>
        {() =>
          items.length === 0 ? <Empty title={w.none}>{w.noneHint}</Empty> : (
            <div className="scroll" tabIndex={0} role="region" aria-label={w.title}>
              <table className="list">
                <thead>
                  <tr>{[c.name, c.ready, c.types, c.agents, c.calls, c.budget, c.recovered, c.fired].map((h) => <th key={h} scope="col">{h}</th>)}</tr>
                </thead>
                <tbody>
                  {items.map((h, i) => (
                    <tr key={h.uid} className={i === at ? "selected" : ""}>
                      <td className="strong"><HookLink hook={h} /></td>
                      <td><HookState h={h} /></td>
                      <td><span className="types">{h.eventTypes.map((t) => <Type key={t} type={t} />)}</span></td>
                      <td>{h.agents.join(", ")}</td>
                      <td className="num">{compact(h.statistics.deliveries)}</td>
                      <td className="num">{count(h.statistics.callsLastHour)}{typeof h.spec.maxCallsPerHour === "number" && <span className="dim"> / {h.spec.maxCallsPerHour}</span>}</td>
                      <td className="num">{compact(h.statistics.recovered)}</td>
                      <td><Time at={h.statistics.lastFired} /></td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
          )
        }
      </Ready>
    </Page>
  );
}
