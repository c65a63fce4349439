// The command palette: pages, workloads that fail, and whatever begins with an ID.
import { useQuery } from "@tanstack/react-query";
import { useId, useMemo, useState } from "react";
import { navigation } from "../app";
import { ask } from "../api/queries";
import { client, must } from "../api/client";
import { typeOf, words } from "../words";
import { deliveryPath, Dialog, hookPath, incidentPath } from "./base";
import { useGo, useNamespace } from "./state";

type Item = { key: string; text: string; hint: string; path: string };

export default function Palette({ onClose }: { onClose: () => void }) {
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  const [namespace] = useNamespace();
  const go = useGo();
  const list = useId();
  const hooks = useQuery(ask.hooks(namespace));
  const firing = useQuery(ask.incidents({ namespace, status: "firing", limit: 200 }));
  const id = /^[0-9a-f-]{6,36}$/i.test(text.trim()) ? text.trim().toLowerCase() : "";
  const byId = useQuery({
    queryKey: ["by-id", id], enabled: id !== "",
    queryFn: async ({ signal }) => {
      const query = { idPrefix: id, namespace, limit: 5 };
      const [i, d] = await Promise.all([must(client.GET("/api/v1/incidents", { signal, params: { query } })), must(client.GET("/api/v1/deliveries", { signal, params: { query } }))]);
      return { incidents: i.items, deliveries: d.items };
    },
  });
  const items = useMemo(() => {
    const all: Item[] = [
      ...(byId.data?.incidents ?? []).map((i) => ({ key: i.id, text: `${typeOf(i.eventType)} ${i.namespace}/${i.workload.name}`, hint: i.id.slice(0, 8), path: incidentPath(i.id) })),
      ...(byId.data?.deliveries ?? []).map((d) => ({ key: d.id, text: `${d.agent.name}, ${d.group}`, hint: d.id.slice(0, 8), path: deliveryPath(d.id) })),
    ];
    const fits = (s: string) => s.toLowerCase().includes(text.trim().toLowerCase());
    all.push(...navigation.filter((n) => fits(words.nav[n.name])).map((n) => ({ key: n.path, text: words.nav[n.name], hint: `g ${n.key}`, path: n.path })));
    if (text.trim()) {
      all.push(...(hooks.data?.items ?? []).filter((h) => fits(`${h.namespace}/${h.name}`)).map((h) => ({ key: `h ${h.uid}`, text: `${h.namespace}/${h.name}`, hint: words.nav.hooks, path: hookPath(h) })));
      const seen = new Set<string>();
      for (const i of firing.data?.items ?? []) {
        const name = `${i.namespace}/${i.workload.name}`;
        if (seen.has(name) || !fits(name)) continue;
        seen.add(name);
        all.push({ key: `w ${name}`, text: name, hint: words.firing, path: incidentPath(i.id) });
      }
      all.push({ key: "search", text: `${words.incidents.title}: ${text.trim()}`, hint: words.incidents.text, path: `/incidents?text=${encodeURIComponent(text.trim())}` });
    }
    return all.slice(0, 12);
  }, [text, byId.data, hooks.data, firing.data]);
  const chosen = Math.min(at, items.length - 1);
  const open = (item: Item | undefined) => {
    if (!item) return;
    onClose();
    go(item.path);
  };
  return (
    <Dialog title={words.palette.title} onClose={onClose} className="palette">
      <input
        type="text" role="combobox" aria-expanded="true" aria-controls={list} aria-activedescendant={items[chosen] ? `${list}-${chosen}` : undefined} aria-label={words.palette.hint} placeholder={words.palette.hint} autoFocus spellCheck={false} autoComplete="off" value={text}
        onChange={(e) => { setText(e.target.value); setAt(0); }}
        onKeyDown={(e) => {
          if (e.key === "ArrowDown" || e.key === "ArrowUp") { e.preventDefault(); setAt((chosen + (e.key === "ArrowDown" ? 1 : items.length - 1)) % Math.max(1, items.length)); }
          if (e.key === "Enter") { e.preventDefault(); open(items[chosen]); }
        }}
      />
      <ul id={list} role="listbox" aria-label={words.palette.title}>
        {items.map((item, i) => (
          <li key={item.key} id={`${list}-${i}`} role="option" aria-selected={i === chosen} onMouseMove={() => setAt(i)} onClick={() => open(item)}>
            <span>{item.text}</span>
            <span className="dim">{item.hint}</span>
          </li>
        ))}
      </ul>
      {items.length === 0 && <p className="dim">{words.palette.nothing}</p>}
    </Dialog>
  );
}
