// Signing in by a token, which goes to khook and comes back as a cookie that no script can read.
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useLocation, useSearchParams } from "wouter";
import { basePath, Problem, problemOf } from "../api/client";
import { Untrusted } from "../ui/base";
import { useTitle } from "../ui/state";
import { words } from "../words";

const w = words.session;

/** A path of this page, whatever the link that led here says. */
export function wayBack(from: string | null): string {
  return from && /^\/(?![/\\])/.test(from) && !from.startsWith("/login") ? from : "/";
}

const safe = () => location.protocol === "https:" || ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);

export default function Login() {
  useTitle(w.title);
  const [, navigate] = useLocation();
  const [params] = useSearchParams();
  const cache = useQueryClient();
  const [token, setToken] = useState("");
  const [error, setError] = useState<unknown>();
  const [busy, setBusy] = useState(false);
  const submit = async () => {
    setBusy(true);
    setError(undefined);
    try {
      const response = await fetch(`${basePath}/api/v1/session`, { method: "POST", body: JSON.stringify({ token: token.trim() }), headers: { "Content-Type": "application/json", Accept: "application/json" } });
      if (!response.ok) throw problemOf(response, await response.json().catch(() => null));
      setToken("");
      cache.clear();
      navigate(wayBack(params.get("from")), { replace: true });
    } catch (cause) {
      setError(cause);
    } finally {
      setBusy(false);
    }
  };
  return (
    <main className="login">
      <form className="panel" onSubmit={(e) => { e.preventDefault(); void submit(); }}>
        <h1>{w.title}</h1>
        {params.get("from") && params.get("from") !== "/" && <p>{w.ended}</p>}
        <p className="dim">{w.easier}</p>
        {safe() ? (
          <>
            <label className="field block">
              <span>{w.token}</span>
              <input type="password" value={token} required autoComplete="off" autoFocus spellCheck={false} onChange={(e) => setToken(e.target.value)} />
            </label>
            <p className="dim">{w.hint}</p>
            <code className="command">{w.command}</code>
            {error !== undefined && <p className="refused" role="alert">{w.failed}: <Untrusted text={error instanceof Problem && error.status > 0 ? error.detail : words.load.unreachable} /></p>}
            <button type="submit" className="primary" disabled={busy}>{w.submit}</button>
          </>
        ) : (
          <p className="refused" role="alert">{w.insecure}</p>
        )}
      </form>
    </main>
  );
}
