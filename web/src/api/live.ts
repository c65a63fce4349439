// One live stream for all tabs of the browser: the tab that holds the lock reads it and passes on what comes, since a
// browser opens six connections to a host at most. Who takes over goes on after the last ID that any tab has seen.
import { basePath } from "./client";

export type Kind = "event" | "incident" | "delivery";
export type State = { status: "connecting" | "live" | "lost"; since: number };
type Message = { type: "state"; state: State } | { type: "change"; kind: Kind; id: string } | { type: "all" } | { type: "hello" };

export class Live {
  private state: State = { status: "connecting", since: Date.now() };
  private readonly watchers = new Set<() => void>();
  private readonly channel = typeof BroadcastChannel === "undefined" ? undefined : new BroadcastChannel(`khook-live ${basePath}`);
  private source: EventSource | undefined;
  private lastId = "";
  private failures = 0;
  private started = false;
  private namespace = "";
  private reads = false;

  constructor(
    private readonly changed: (kinds: Set<Kind> | "all") => void,
    private readonly refused: () => void,
  ) {}

  getState = () => this.state;
  subscribe = (watch: () => void) => {
    this.watchers.add(watch);
    return () => void this.watchers.delete(watch);
  };

  /** Begins to follow, or goes on in another namespace; "" for all. */
  start(namespace: string) {
    if (this.started && namespace === this.namespace) return;
    this.namespace = namespace;
    if (this.started) {
      if (this.reads) this.open();
      return;
    }
    this.started = true;
    this.channel?.addEventListener("message", (e: MessageEvent<Message>) => this.take(e.data));
    this.channel?.postMessage({ type: "hello" } satisfies Message);
    // Without a secure context there are no locks, and each tab reads for itself.
    if (!navigator.locks) return this.lead();
    void navigator.locks.request(`khook-live ${basePath} ${namespace}`, () => {
      this.lead();
      return new Promise(() => {}); // until the tab is closed
    });
  }

  private lead() {
    this.reads = true;
    this.open();
  }

  private open() {
    this.source?.close();
    const query = new URLSearchParams({ kinds: "event,incident,delivery" });
    if (this.lastId) query.set("after", this.lastId);
    if (this.namespace) query.set("namespace", this.namespace);
    const source = new EventSource(`${basePath}/api/v1/events/stream?${query}`);
    this.source = source;
    source.addEventListener("ready", (e) => {
      this.lastId = e.lastEventId || this.lastId;
      this.failures = 0;
      const again = this.state.status === "lost";
      this.tell({ type: "state", state: { status: "live", since: Date.now() } });
      if (again) this.tell({ type: "all" });
    });
    for (const kind of ["event", "incident", "delivery"] as const) {
      source.addEventListener(kind, (e) => this.tell({ type: "change", kind, id: e.lastEventId }));
    }
    source.addEventListener("gap", () => this.tell({ type: "all" }));
    source.addEventListener("error", () => this.failed(source));
  }

  // The browser comes back by itself, with the last ID, unless khook answered with an error.
  private failed(source: EventSource) {
    if (source !== this.source) return;
    if (this.state.status !== "lost") this.tell({ type: "state", state: { status: "lost", since: Date.now() } });
    if (source.readyState !== EventSource.CLOSED) return;
    this.refused();
    const pause = Math.min(15_000, 1000 * 2 ** this.failures++) * (0.75 + Math.random() / 2);
    setTimeout(() => source === this.source && this.open(), pause);
  }

  private tell(m: Message) {
    this.channel?.postMessage(m);
    this.take(m);
  }

  private take(m: Message) {
    switch (m.type) {
      case "hello":
        if (this.reads) this.channel?.postMessage({ type: "state", state: this.state } satisfies Message);
        break;
      case "state":
        this.state = m.state;
        for (const watch of this.watchers) watch();
        break;
      case "change":
        this.lastId = m.id || this.lastId;
        this.changed(new Set([m.kind]));
        break;
      case "all":
        this.changed("all");
    }
  }
}
