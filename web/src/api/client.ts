// How the page asks khook: the types are those of docs/openapi.yaml, and a refusal is a Problem that a person can read.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.gen";

export type Schemas = components["schemas"];
export type Incident = Schemas["Incident"];
export type IncidentDetail = Schemas["IncidentDetail"];
export type Delivery = Schemas["Delivery"];
export type DeliveryDetail = Schemas["DeliveryDetail"];
export type Decision = Schemas["Decision"];
export type Event = Schemas["Event"];
export type Hook = Schemas["Hook"];
export type InboxItem = Schemas["InboxItem"];
export type AgentStats = Schemas["AgentStats"];
export type TimelineEntry = Schemas["TimelineEntry"];
export type LogEntry = Schemas["LogEntry"];
export type Pause = Schemas["Pause"];
export type Health = Schemas["Health"];

/** The path below which the page lies, without a slash at its end: "" or "/khook". */
export const basePath = typeof document === "undefined" ? "" : new URL(document.baseURI).pathname.replace(/\/$/, "");

export const client = createClient<paths>({ baseUrl: basePath, credentials: "same-origin", headers: { Accept: "application/json" } });

/** A request that khook refused, or that did not reach it (status 0). */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly detail: string,
    readonly kind: string,
    readonly requestId: string,
    readonly retryAfter: number,
  ) {
    super(detail);
  }
}

type Answer<T> = { data?: T; error?: unknown; response: Response };

/** What khook answered; throws a Problem for everything else. */
export async function must<T>(asked: Promise<Answer<T>>): Promise<T> {
  let answer: Answer<T>;
  try {
    answer = await asked;
  } catch (cause) {
    if (cause instanceof DOMException && cause.name === "AbortError") throw cause;
    throw new Problem(0, "", "unreachable", "", 0);
  }
  if (answer.response.ok && answer.data !== undefined) return answer.data;
  throw problemOf(answer.response, answer.error);
}

export function problemOf(response: Response, body: unknown): Problem {
  const said = (typeof body === "object" && body !== null ? body : {}) as { detail?: unknown; type?: unknown };
  const kind = typeof said.type === "string" ? said.type.replace(/^.*#problem-/, "") : "";
  return new Problem(
    response.status,
    typeof said.detail === "string" ? said.detail : response.statusText,
    kind,
    response.headers.get("X-Request-Id") ?? "",
    Number(response.headers.get("Retry-After") ?? 0),
  );
}
