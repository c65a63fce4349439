// The frame around all pages: navigation, who looks, whether what is shown is live; and which path shows which page.
import { QueryCache, QueryClient, QueryClientProvider, useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useEffect, useMemo, useRef, useState, useSyncExternalStore, type ComponentType } from "react";
import { Link, Route, Switch, useLocation } from "wouter";
import { basePath, client, Problem } from "./api/client";
import { chooseCluster, clusterNow } from "./api/cluster";
import { Live, type Kind } from "./api/live";
import { ask, askClusters } from "./api/queries";
import { dress, keep, look, type Look } from "./lib/kept";
import { clock } from "./lib/time";
import { Dialog, Empty, Loading } from "./ui/base";
import { Boundary } from "./ui/boundary";
import { icons } from "./ui/icons";
import { isTyping, MeProvider, Says, useGo, useMe, useNamespace, withNamespace } from "./ui/state";
import { words } from "./words";

// The first segments are known to internal/web too, which answers for no other path.
const pages: [string, ComponentType][] = [
  ["/", lazy(() => import("./pages/now"))],
  ["/incidents", lazy(() => import("./pages/incidents"))],
  ["/incidents/:id", lazy(() => import("./pages/incident"))],
  ["/deliveries", lazy(() => import("./pages/deliveries"))],
  ["/deliveries/:id", lazy(() => import("./pages/delivery"))],
  ["/hooks", lazy(() => import("./pages/hooks"))],
  ["/hooks/:namespace/:name", lazy(() => import("./pages/hook"))],
  ["/why", lazy(() => import("./pages/why"))],
  ["/agents", lazy(() => import("./pages/agents"))],
  ["/trends", lazy(() => import("./pages/trends"))],
  ["/health", lazy(() => import("./pages/health"))],
  ["/try", lazy(() => import("./pages/try"))],
];
const Login = lazy(() => import("./pages/login"));
const Palette = lazy(() => import("./ui/palette"));

export const navigation: { path: string; key: string; name: keyof typeof words.nav }[] = [
  { path: "/", key: "n", name: "now" },
  { path: "/incidents", key: "i", name: "incidents" },
  { path: "/deliveries", key: "d", name: "deliveries" },
  { path: "/hooks", key: "h", name: "hooks" },
  { path: "/why", key: "w", name: "why" },
  { path: "/agents", key: "a", name: "agents" },
  { path: "/trends", key: "t", name: "trends" },
  { path: "/try", key: "y", name: "try" },
  { path: "/health", key: "s", name: "health" },
];

/** Leads to the login page, which leads back here. */
function signIn() {
  const here = location.pathname.slice(basePath.length) + location.search;
  if (here.startsWith("/login")) return;
  history.pushState(null, "", `${basePath}/login?from=${encodeURIComponent(here || "/")}`);
}

async function signOut() {
  await client.DELETE("/api/v1/session").catch(() => undefined);
  location.assign(`${basePath}/login`);
}

function newCache() {
  return new QueryClient({
    queryCache: new QueryCache({ onError: (error) => error instanceof Problem && error.status === 401 && signIn() }),
    defaultOptions: {
      queries: {
        staleTime: 2000,
        gcTime: 120_000,
        refetchOnWindowFocus: true,
        retry: (failures, error) => failures < 3 && error instanceof Problem && (error.status === 0 || error.status === 429 || error.status === 503),
        retryDelay: (failures, error) => (error instanceof Problem && error.retryAfter > 0 ? error.retryAfter * 1000 : Math.min(8000, 500 * 2 ** failures)),
      },
    },
  });
}

export function App() {
  const cache = useMemo(newCache, []);
  return (
    <QueryClientProvider client={cache}>
      <Says>
        <Switch>
          <Route path="/login">
            <Suspense fallback={<Loading />}>
              <Login />
            </Suspense>
          </Route>
          <Route>
            <MeProvider>
              <Frame cache={cache} />
            </MeProvider>
          </Route>
        </Switch>
      </Says>
    </QueryClientProvider>
  );
}

/** What the stream tells is read again, but not more often than it can be looked at. */
function useLive(cache: QueryClient): Live {
  const [namespace] = useNamespace();
  const scope = useMe()?.everywhere.read ? "" : namespace; // all tabs of somebody who may read all share one stream
  const live = useMemo(() => {
    let kinds = new Set<Kind>();
    let everything = false;
    let due: ReturnType<typeof setTimeout> | undefined;
    const flush = () => {
      due = undefined;
      const stale = everything ? undefined : kinds;
      kinds = new Set();
      everything = false;
      void cache.invalidateQueries({ predicate: (q) => isStale(String(q.queryKey[0]), stale) });
    };
    return new Live(
      scope,
      (changed) => {
        if (changed === "all") everything = true;
        else for (const k of changed) kinds.add(k);
        due ??= setTimeout(flush, 600);
      },
      () => void cache.invalidateQueries({ queryKey: ["me"] }),
    );
  }, [cache, scope]);
  useEffect(live.start, [live]);
  return live;
}

export function isStale(key: string, changed: Set<Kind> | undefined): boolean {
  if (!changed) return key !== "health" && key !== "incident-pages";
  switch (key) {
    case "incidents":
      return true; // an incident's story has all of them
    case "events":
    case "stats":
      return changed.has("event");
    case "deliveries":
      return changed.has("delivery") || changed.has("incident") || changed.has("event");
    default:
      return false;
  }
}

function Frame({ cache }: { cache: QueryClient }) {
  const live = useLive(cache);
  const [path] = useLocation();
  const [menu, setMenu] = useState(false);
  const [open, setOpen] = useState<"palette" | "keys">();
  useKeys(setOpen);
  useEffect(() => setMenu(false), [path]);
  const main = useRef<HTMLElement>(null);
  const first = useRef(true);
  useEffect(() => {
    if (first.current) first.current = false;
    else main.current?.querySelector<HTMLElement>("h1")?.focus({ preventScroll: true });
    window.scrollTo(0, 0);
  }, [path]);
  return (
    <div className={menu ? "frame menu-open" : "frame"}>
      <a className="skip" href="#main" onClick={(e) => { e.preventDefault(); main.current?.focus(); }}>
        {words.skip}
      </a>
      <header className="top">
        <button type="button" className="menu-button plain" aria-expanded={menu} aria-controls="nav" onClick={() => setMenu(!menu)}>
          {icons.menu}
          <span className="visually-hidden">{words.menu}</span>
        </button>
        <Brand />
        <LiveState live={live} short />
      </header>
      <Side live={live} path={path} onPalette={() => setOpen("palette")} onKeys={() => setOpen("keys")} />
      <main id="main" ref={main} tabIndex={-1}>
        <Lost live={live} />
        <Boundary key={path}>
          <Suspense fallback={<div className="page"><Loading rows={6} /></div>}>
            <Switch>
              {pages.map(([p, Component]) => (
                <Route key={p} path={p}>
                  <Component />
                </Route>
              ))}
              <Route>
                <div className="page">
                  <Empty title={words.load.noPage} whole>
                    <Link href="/">{words.load.home}</Link>
                  </Empty>
                </div>
              </Route>
            </Switch>
          </Suspense>
        </Boundary>
      </main>
      {open === "palette" && (
        <Suspense>
          <Palette onClose={() => setOpen(undefined)} />
        </Suspense>
      )}
      {open === "keys" && <Keys onClose={() => setOpen(undefined)} />}
    </div>
  );
}

function Brand() {
  return (
    <Link href="/" className="brand">
      <svg viewBox="0 0 32 32" aria-hidden="true">
        <rect width="32" height="32" rx="8" />
        <path d="M11 7v18M11 17l9-9M14.5 14l3 3.2c2 2.1 3.5 3.4 3.5 5.3a3.2 3.2 0 0 1-6.3.8" />
      </svg>
      <span>{words.product}</span>
    </Link>
  );
}

/** Chooses of which cluster the page tells, where khook serves several. */
function ClusterChoice() {
  const clusters = useQuery(askClusters()).data ?? [];
  if (clusters.length < 2) return null;
  return (
    <label className="field namespace">
      <span className="visually-hidden">{words.cluster}</span>
      <select value={clusterNow()} onChange={(e) => chooseCluster(e.target.value)} aria-label={words.cluster}>
        {clusters.map((c) => (
          <option key={c.name} value={c.name}>
            {c.name || words.unnamedCluster}
          </option>
        ))}
      </select>
    </label>
  );
}

function Side({ live, path, onPalette, onKeys }: { live: Live; path: string; onPalette: () => void; onKeys: () => void }) {
  const [namespace, setNamespace] = useNamespace();
  const inbox = useQuery(ask.inbox(namespace));
  const me = useMe();
  const all = me?.everywhere.read ?? false;
  const hooks = useQuery(ask.hooks(all ? "" : namespace));
  const waiting = inbox.data?.data.length ?? 0;
  const options = useMemo(() => {
    const names = new Set(all ? (hooks.data?.items ?? []).map((h) => h.namespace) : (me?.namespaces ?? []).map((n) => n.namespace));
    if (namespace) names.add(namespace);
    return Object.fromEntries([...(all ? [["", words.allNamespaces]] : []), ...[...names].sort().map((n) => [n, n])]) as Record<string, string>;
  }, [hooks.data, namespace, all, me]);
  return (
    <aside className="side" aria-label={words.product}>
      <Brand />
      <ClusterChoice />
      <label className="field namespace">
        <span className="visually-hidden">{words.namespace}</span>
        <select value={namespace} onChange={(e) => setNamespace(e.target.value)} aria-label={words.namespace}>
          {Object.entries(options).map(([v, text]) => (
            <option key={v} value={v}>
              {text}
            </option>
          ))}
        </select>
      </label>
      <button type="button" className="finder" onClick={onPalette}>
        {icons.search}
        <span>{words.palette.title}</span>
        <kbd>Ctrl K</kbd>
      </button>
      <nav id="nav" aria-label={words.menu}>
        <ul>
          {navigation.map((n) => {
            const here = n.path === "/" ? path === "/" : path === n.path || path.startsWith(`${n.path}/`);
            return (
              <li key={n.path}>
                <Link href={withNamespace(n.path, namespace)} aria-current={here ? "page" : undefined}>
                  {icons[n.name]}
                  <span>{words.nav[n.name]}</span>
                  {n.name === "now" && waiting > 0 && <span className="badge">{waiting}<span className="visually-hidden"> {words.now.strip.waiting}</span></span>}
                </Link>
              </li>
            );
          })}
        </ul>
      </nav>
      <div className="side-foot">
        <LiveState live={live} />
        <Theme />
        <div className="who">
          <span className="dim" title={me?.name}>{me?.name?.replace("system:serviceaccount:", "") ?? ""}</span>
          {me?.authentication === "session" && (
            <button type="button" className="small" onClick={() => void signOut()}>
              {words.session.signOut}
            </button>
          )}
          <button type="button" className="plain" onClick={onKeys} aria-label={words.keys.title} title={words.keys.title}>
            <kbd>?</kbd>
          </button>
        </div>
      </div>
    </aside>
  );
}

function LiveState({ live, short }: { live: Live; short?: boolean }) {
  const { status } = useSyncExternalStore(live.subscribe, live.getState);
  return (
    <span className={`live is-${status}`} role={short ? undefined : "status"} aria-hidden={short}>
      <span className="dot" aria-hidden="true" />
      {words.live[status]}
    </span>
  );
}

/** Tells of a lost connection once it has been for some seconds: a restart of khook is shorter. */
function Lost({ live }: { live: Live }) {
  const { status, since } = useSyncExternalStore(live.subscribe, live.getState);
  const [shown, setShown] = useState(false);
  useEffect(() => {
    if (status !== "lost") return setShown(false);
    const wait = setTimeout(() => setShown(true), Math.max(0, since + 3000 - Date.now()));
    return () => clearTimeout(wait);
  }, [status, since]);
  if (!shown) return null;
  return (
    <div className="lost-banner" role="alert">
      {words.live.banner(clock(new Date(since)))}
    </div>
  );
}

function Theme() {
  const [theme, setTheme] = useState(look);
  const choose = (chosen: Look) => {
    keep("theme", chosen);
    dress(chosen);
    setTheme(chosen);
  };
  return (
    <div className="choice theme" role="group" aria-label={words.theme.label}>
      {(["", "light", "dark"] as const).map((l) => (
        <button key={l} type="button" aria-pressed={theme === l} onClick={() => choose(l)} data-theme-choice={l || "auto"}>
          {words.theme[l || "auto"]}
        </button>
      ))}
    </div>
  );
}

/** Keys that work on every page: g and a letter, /, ?, Ctrl+K. */
function useKeys(setOpen: (what: "palette" | "keys") => void) {
  const go = useGo();
  useEffect(() => {
    let g = 0;
    const key = (e: KeyboardEvent) => {
      if ((e.ctrlKey || e.metaKey) && e.key.toLowerCase() === "k") {
        e.preventDefault();
        setOpen("palette");
        return;
      }
      if (e.ctrlKey || e.metaKey || e.altKey || document.querySelector("dialog[open]")) return;
      if (isTyping(e.target)) {
        if (e.key === "Escape") (e.target as HTMLElement).blur();
        return;
      }
      const to = navigation.find((n) => n.key === e.key);
      if (to && Date.now() - g < 1500) {
        g = 0;
        e.preventDefault();
        go(to.path);
        return;
      }
      g = e.key === "g" ? Date.now() : 0;
      if (e.key === "?") setOpen("keys");
      if (e.key === "/") {
        e.preventDefault();
        const field = document.querySelector<HTMLInputElement>("main [data-search]");
        if (field) field.focus();
        else setOpen("palette");
      }
      if (e.key === "Escape" && history.length > 1) history.back();
    };
    document.addEventListener("keydown", key);
    return () => document.removeEventListener("keydown", key);
  }, [go, setOpen]);
}

function Keys({ onClose }: { onClose: () => void }) {
  const k = words.keys;
  const rows: [string, string][] = [["/", k.search], ["g", k.go], ...navigation.map((n): [string, string] => [`g ${n.key}`, words.nav[n.name]]), ["j k", k.move], ["Enter", k.open], ["Ctrl K", k.palette], ["?", k.help], ["Esc", k.back]];
  return (
    <Dialog title={k.title} onClose={onClose}>
      <dl className="keys">
        {rows.map(([key, what]) => (
          <div key={key}>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
      <div className="buttons">
        <button type="button" onClick={onClose}>{words.close}</button>
      </div>
    </Dialog>
  );
}
