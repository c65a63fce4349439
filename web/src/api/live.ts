// One live stream for all tabs of the browser: the tab that holds the lock reads it and passes on what comes, since a
// browser opens six connections to a host at most. Who takes over goes on after the last ID that any tab has seen.
import { basePath } from "./client";
import { clusterNow } from "./cluster";

export type Kind = "event" | "incident" | "delivery";
export type State = { status: "connecting" | "live" | "lost"; since: number };
type Message = { type: "state"; state: State } | { type: "change"; kind: Kind; id: string } | { type: "all" } | { type: "hello" };

export class Live {
  private state: State = { status: "connecting", since: Date.now() };
  private readonly watchers = new Set<() => void>();
  private channel: BroadcastChannel | undefined;
  private source: EventSource | undefined;
  private release: () => void = () => {};
  private lastId = "";
  private failures = 0;
  private reads = false;

  /** Follows a namespace, or all if it is "". */
  constructor(
    private readonly namespace: string,
    private readonly changed: (kinds: Set<Kind> | "all") => void,
    private readonly refused: () => void,
  ) {}

  getState = () => this.state;
  subscribe = (watch: () => void) => {
    this.watchers.add(watch);
    return () => void this.watchers.delete(watch);
  };

  /** Begins to follow; returns what ends it. */
  start = (): (() => void) => {
    const name = `khook-live ${basePath} ${this.namespace} ${clusterNow()}`.trimEnd();
    if (typeof BroadcastChannel !== "undefined") {
      this.channel = new BroadcastChannel(name);
      this.channel.addEventListener("message", (e: MessageEvent<Message>) => this.take(e.data));
      this.channel.postMessage({ type: "hello" } satisfies Message);
    }
    const ended = new AbortController();
    const lead = () => {
      if (ended.signal.aborted) return Promise.resolve();
      this.reads = true;
      this.open();
      return new Promise<void>((resolve) => (this.release = resolve)); // until the tab is closed, or goes elsewhere
    };
    // Without a secure context there are no locks, and each tab reads for itself.
    if (navigator.locks) navigator.locks.request(name, { signal: ended.signal }, lead).catch(() => {});
    else void lead();
    return () => {
      ended.abort();
      this.reads = false;
      this.source?.close();
      this.source = undefined;
      this.channel?.close();
      this.release();
    };
  };

  private open() {
    this.source?.close();
    const query = new URLSearchParams({ kinds: "event,incident,delivery" });
    if (this.lastId) query.set("after", this.lastId);
    if (clusterNow()) query.set("cluster", clusterNow());
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
