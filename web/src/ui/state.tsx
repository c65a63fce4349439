// What all pages share: the URL as the state, who looks, what may be done, and short messages.
import { useQuery } from "@tanstack/react-query";
import { createContext, useCallback, useContext, useEffect, useRef, useState, type ReactNode } from "react";
import { useLocation, useSearchParams } from "wouter";
import { askClusters, askMe, type Me } from "../api/queries";
import { keep, kept } from "../lib/kept";
import { words } from "../words";
import { Failed, Loading } from "./base";

/** One value of the URL's query; setting it leaves no step in the history, unless it is asked to. */
export function useParam<T extends string = string>(name: string, unset = "" as T): [T, (v: T) => void] {
  const [params, setParams] = useSearchParams();
  const value = (params.get(name) ?? unset) as T;
  const set = useCallback(
    (v: T) =>
      setParams(
        (before) => {
          const next = new URLSearchParams(before);
          if (v && v !== unset) next.set(name, v);
          else next.delete(name);
          return next;
        },
        { replace: true },
      ),
    [name, unset, setParams],
  );
  return [value, set];
}

/** The namespace that the page is about; "" for all. It goes along from page to page. Who may not read all reads the first. */
export function useNamespace(): [string, (v: string) => void] {
  const [namespace, set] = useParam("namespace");
  const me = useMe();
  const only = me && !me.everywhere.read ? (me.namespaces?.[0]?.namespace ?? "") : "";
  return [namespace || only, set];
}

/** Leads to another page, and keeps the namespace. */
export function useGo() {
  const [, navigate] = useLocation();
  const [namespace] = useNamespace();
  return useCallback((path: string) => navigate(withNamespace(path, namespace)), [navigate, namespace]);
}

export function withNamespace(path: string, namespace: string): string {
  if (!namespace || path.includes("namespace=")) return path;
  return `${path}${path.includes("?") ? "&" : "?"}namespace=${encodeURIComponent(namespace)}`;
}

// --- who looks ---------------------------------------------------------------------------------------------------

const MeContext = createContext<Me | null>(null);
export const useMe = () => useContext(MeContext);

/** Shows the page once it is known who looks: what may be asked for depends on it. */
export function MeProvider({ children }: { children: ReactNode }) {
  const me = useQuery(askMe());
  const clusters = useQuery(askClusters());
  if (me.data && (clusters.data || clusters.error)) return <MeContext value={me.data}>{children}</MeContext>;
  return <main className="page">{me.error ? <Failed error={me.error} retry={() => void me.refetch()} whole /> : <Loading rows={6} />}</main>;
}

export type Action = "reply" | "approve" | "reject" | "cancel" | "retry" | "resume" | "pause" | "unpause";

const rights = { reply: "act", cancel: "act", retry: "act", resume: "act", approve: "approve", reject: "approve", pause: "pause", unpause: "pause" } as const;

type HookName = { namespace: string; name: string };

/** Whether somebody may do something with a Hook's calls, as far as is known; khook asks Kubernetes again when it is done. */
export function may(me: Me, here: Me | undefined, action: Action, hook: HookName): boolean {
  const right = rights[action];
  if (me.everywhere[right]) return true;
  for (const known of [me, here]) {
    const namespace = known?.namespaces?.find((n) => n.namespace === hook.namespace);
    if (namespace?.[right] || namespace?.hooks?.find((h) => h.hook === hook.name)?.[right]) return true;
  }
  return false;
}

/** Why somebody may not do something; undefined if they may. */
export function useRefusal(action: Action, hook: HookName): string | undefined {
  const me = useMe();
  const wide = me !== null && may(me, undefined, action, hook);
  const here = useQuery({ ...askMe(hook.namespace), enabled: me !== null && !wide && hook.namespace !== "" });
  if (!me || wide || may(me, here.data, action, hook)) return undefined;
  return words.act.mayNot(words.act.rights[rights[action]], hook.namespace ? `${hook.namespace}/${hook.name}` : "");
}

// --- messages ----------------------------------------------------------------------------------------------------

const SayContext = createContext<(text: string) => void>(() => {});
export const useSay = () => useContext(SayContext);

export function Says({ children }: { children: ReactNode }) {
  const [text, setText] = useState("");
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  const say = useCallback((t: string) => {
    setText(t);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setText(""), 4000);
  }, []);
  return (
    <SayContext value={say}>
      {children}
      <div className={text ? "toast shown" : "toast"} role="status" aria-live="polite">
        {text}
      </div>
    </SayContext>
  );
}

// --- title -------------------------------------------------------------------------------------------------------

export function useTitle(title: string) {
  useEffect(() => {
    document.title = `${title} · ${words.product}`;
  }, [title]);
}

/** Rows that j, k and Enter move over. */
export function useRows(length: number, open: (i: number) => void, reveal?: (i: number) => void) {
  const [at, setAt] = useState(-1);
  useEffect(() => {
    const key = (e: KeyboardEvent) => {
      if (e.ctrlKey || e.metaKey || e.altKey || isTyping(e.target) || document.querySelector("dialog[open]")) return;
      const step = e.key === "j" ? 1 : e.key === "k" ? -1 : 0;
      if (step !== 0 && length > 0) {
        e.preventDefault();
        const next = Math.min(length - 1, Math.max(0, at + step));
        setAt(next);
        reveal?.(next);
      }
      if (e.key === "Enter" && at >= 0 && at < length && (e.target === document.body || (e.target as HTMLElement).tagName === "H1")) open(at);
    };
    document.addEventListener("keydown", key);
    return () => document.removeEventListener("keydown", key);
  }, [at, length, open, reveal]);
  return at;
}

export function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName));
}

// --- views that are kept in the browser --------------------------------------------------------------------------

export type View = { name: string; query: string };

export function useViews(page: string) {
  const [views, setViews] = useState(() => viewsOf(kept(`views ${page}`)));
  const change = (next: View[]) => {
    setViews(next);
    keep(`views ${page}`, next.length > 0 ? JSON.stringify(next) : "");
  };
  return { views, save: (v: View) => change([...views.filter((x) => x.name !== v.name), v]), remove: (name: string) => change(views.filter((x) => x.name !== name)) };
}

function viewsOf(text: string): View[] {
  try {
    const parsed: unknown = JSON.parse(text || "[]");
    return Array.isArray(parsed) ? parsed.filter((v): v is View => typeof v?.name === "string" && typeof v?.query === "string") : [];
  } catch {
    return [];
  }
}
