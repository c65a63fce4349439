// What the page asks khook for, by name. A key begins with what it is about, so that the live stream can say what is stale.
import { infiniteQueryOptions, keepPreviousData, queryOptions } from "@tanstack/react-query";
import { readClusters } from "./cluster";
import { basePath, client, must, problemOf, type Schemas } from "./client";

export type IncidentFilter = {
  namespace?: string;
  text?: string;
  agent?: string;
  workload?: string;
  resourceName?: string;
  eventType?: Schemas["Incident"]["eventType"];
  status?: "firing" | "resolved";
  startTime?: string;
  endTime?: string;
};
export type DeliveryFilter = {
  namespace?: string;
  hook?: string;
  agent?: string;
  state?: Schemas["Delivery"]["state"];
  stalled?: boolean;
  startTime?: string;
};

const pageSize = 100;

export const ask = {
  health: () => queryOptions({ queryKey: ["health"], queryFn: ({ signal }) => must(client.GET("/api/v1/health", { signal })) as Promise<Schemas["Health"]>, refetchInterval: 15_000 }),
  diagnostics: () => queryOptions({ queryKey: ["diagnostics"], queryFn: ({ signal }) => must(client.GET("/api/v1/diagnostics", { signal })), refetchInterval: 15_000 }),
  inbox: (namespace: string) =>
    queryOptions({ queryKey: ["deliveries", "inbox", namespace], queryFn: ({ signal }) => must(client.GET("/api/v1/inbox", { signal, params: { query: { namespace } } })), placeholderData: keepPreviousData }),
  pauses: (namespace: string) => queryOptions({ queryKey: ["pauses", namespace], queryFn: ({ signal }) => must(client.GET("/api/v1/pauses", { signal, params: { query: { namespace } } })), refetchInterval: 30_000 }),
  incidents: (query: IncidentFilter & { limit?: number; sort?: "firstSeen" | "-firstSeen" }) =>
    queryOptions({ queryKey: ["incidents", "some", query], queryFn: ({ signal }) => must(client.GET("/api/v1/incidents", { signal, params: { query } })), placeholderData: keepPreviousData }),
  incidentPages: (query: IncidentFilter) =>
    infiniteQueryOptions({
      queryKey: ["incident-pages", query],
      queryFn: ({ signal, pageParam }) => must(client.GET("/api/v1/incidents", { signal, params: { query: { ...query, limit: pageSize, ...(pageParam ? { cursor: pageParam } : {}) } } })),
      initialPageParam: "",
      getNextPageParam: (last) => last.next || undefined,
      staleTime: Infinity, // new rows announce themselves, and never move what is read
    }),
  incident: (id: string) => queryOptions({ queryKey: ["incidents", "one", id], queryFn: ({ signal }) => must(client.GET("/api/v1/incidents/{id}", { signal, params: { path: { id } } })) }),
  earlier: (id: string) => queryOptions({ queryKey: ["incidents", "earlier", id], queryFn: ({ signal }) => must(client.GET("/api/v1/incidents/{id}/earlier", { signal, params: { path: { id } } })) }),
  deliveries: (query: DeliveryFilter & { limit?: number; eventType?: Schemas["Delivery"]["eventType"] }) =>
    queryOptions({ queryKey: ["deliveries", "some", query], queryFn: ({ signal }) => must(client.GET("/api/v1/deliveries", { signal, params: { query } })), placeholderData: keepPreviousData }),
  deliveryPages: (query: DeliveryFilter) =>
    infiniteQueryOptions({
      queryKey: ["deliveries", "pages", query],
      queryFn: ({ signal, pageParam }) => must(client.GET("/api/v1/deliveries", { signal, params: { query: { ...query, limit: pageSize, ...(pageParam ? { cursor: pageParam } : {}) } } })),
      initialPageParam: "",
      getNextPageParam: (last) => last.next || undefined,
    }),
  delivery: (id: string) => queryOptions({ queryKey: ["deliveries", "one", id], queryFn: ({ signal }) => must(client.GET("/api/v1/deliveries/{id}", { signal, params: { path: { id } } })) }),
  hooks: (namespace: string) =>
    queryOptions({ queryKey: ["hooks", "all", namespace], queryFn: ({ signal }) => must(client.GET("/api/v1/hooks", { signal, params: { query: { namespace, limit: 1000 } } })) as Promise<{ items: Schemas["Hook"][]; total: number }>, refetchInterval: 30_000 }),
  hook: (namespace: string, name: string) =>
    queryOptions({ queryKey: ["hooks", "one", namespace, name], queryFn: ({ signal }) => must(client.GET("/api/v1/hooks/{namespace}/{name}", { signal, params: { path: { namespace, name } } })) as Promise<Schemas["Hook"]>, refetchInterval: 30_000 }),
  hookEvents: (namespace: string, name: string) =>
    queryOptions({ queryKey: ["events", "of-hook", namespace, name], queryFn: ({ signal }) => must(client.GET("/api/v1/hooks/{namespace}/{name}/events", { signal, params: { path: { namespace, name }, query: { limit: 30 } } })) }),
  hookMetrics: (namespace: string, name: string, timeRange: string) =>
    queryOptions({ queryKey: ["stats", "hook", namespace, name, timeRange], queryFn: ({ signal }) => must(client.GET("/api/v1/stats/hooks/{namespace}/{name}/metrics", { signal, params: { path: { namespace, name }, query: { timeRange } } })) }),
  hookManifest: (namespace: string, name: string) =>
    queryOptions({
      queryKey: ["hooks", "manifest", namespace, name],
      queryFn: async ({ signal }) => {
        const response = await fetch(`${basePath}/api/v1/hooks/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}?format=manifest`, { signal, headers: { Accept: "application/yaml" } });
        if (!response.ok) throw problemOf(response, await response.json().catch(() => null));
        return response.text();
      },
    }),
  why: (namespace: string, name: string, query: { pod?: string; incident?: string; event?: number }) =>
    queryOptions({
      queryKey: ["why", namespace, name, query],
      queryFn: async ({ signal }): Promise<Schemas["Why"][]> => {
        if (name) return [await must(client.GET("/api/v1/hooks/{namespace}/{name}/why", { signal, params: { path: { namespace, name }, query } }))];
        return (await must(client.GET("/api/v1/why", { signal, params: { query: { namespace, ...query } } }))).hooks;
      },
    }),
  agents: (query: { timeRange: string; namespace: string; agent?: string }) =>
    queryOptions({ queryKey: ["stats", "agents", query], queryFn: ({ signal }) => must(client.GET("/api/v1/agents", { signal, params: { query } })), placeholderData: keepPreviousData }),
  stats: (timeRange: string, namespace: string) =>
    queryOptions({ queryKey: ["stats", "by-type", timeRange, namespace], queryFn: ({ signal }) => must(client.GET("/api/v1/stats/events/by-type", { signal, params: { query: { timeRange, namespace } } })), placeholderData: keepPreviousData }),
  trends: (query: { timeRange: string; namespace: string; by?: "type" | "namespace"; interval?: string }) =>
    queryOptions({ queryKey: ["stats", "trends", query], queryFn: ({ signal }) => must(client.GET("/api/v1/stats/trends", { signal, params: { query } })), placeholderData: keepPreviousData }),
};

/** Who looks at the page, and what that person may: everywhere and in namespaces, or in one namespace and for its Hooks. */
export type Me = Schemas["Me"];

export const askMe = (namespace = "") =>
  queryOptions({ queryKey: ["me", namespace], queryFn: ({ signal }) => must(client.GET("/api/v1/me", { signal, params: { query: namespace ? { namespace } : {} } })), staleTime: 60_000 });

/** The clusters that the page can be about. */
export const askClusters = () => queryOptions({ queryKey: ["me", "clusters"], queryFn: ({ signal }) => readClusters(signal), staleTime: 60_000 });

/** Whether the browser is known, and whether a token may be entered here. */
export const askSession = () => queryOptions({ queryKey: ["session"], queryFn: ({ signal }) => must(client.GET("/api/v1/session", { signal })) });
