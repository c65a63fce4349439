// The cluster that the page is about: of those that khook serves one at a time, its own unless another one is chosen. It is
// said with each request that could be about several, and what is open is loaded anew when it changes.
import { keep, kept } from "../lib/kept";
import { client, must, type Schemas } from "./client";

let cluster = "";

/** Its name; "" where khook serves its own only, or that has no name. */
export const clusterNow = () => cluster;

/** What can be asked of another cluster; all else is about khook's own. */
const routes = new Set<string>(["/api/v1/incidents", "/api/v1/incidents/groups", "/api/v1/deliveries", "/api/v1/inbox", "/api/v1/agents", "/api/v1/stats/events/by-type", "/api/v1/stats/trends"]);

client.use({
  onRequest({ request, schemaPath }) {
    if (!cluster || !routes.has(schemaPath)) return undefined;
    const url = new URL(request.url);
    url.searchParams.set("cluster", cluster);
    return new Request(url, request);
  },
});

/** Asks which clusters there are, and takes the one that was chosen, as long as it may be read. */
export async function readClusters(signal: AbortSignal): Promise<Schemas["Cluster"][]> {
  const all = await must(client.GET("/api/v1/clusters", { signal }));
  const chosen = kept("cluster");
  const own = all.data.find((c) => c.own)?.name ?? "";
  cluster = !all.servesOthers ? "" : all.data.some((c) => c.name === chosen) ? chosen : own;
  return all.data;
}

export function chooseCluster(name: string) {
  keep("cluster", name);
  location.reload();
}
