// Signing in by a token, which goes to khook and comes back as a cookie that no script can read.
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useLocation, useSearchParams } from "wouter";
import { client, must, Problem } from "../api/client";
import { askSession } from "../api/queries";
import { Ready, Untrusted } from "../ui/base";
import { useTitle } from "../ui/state";
import { words } from "../words";

const w = words.session;

/** A path of this page, whatever the link that led here says. */
export function wayBack(from: string | null): string {
  return from && /^\/(?![/\\])/.test(from) && !from.startsWith("/login") ? from : "/";
}

export default function Login() {
  useTitle(w.title);
  const [, navigate] = useLocation();
  const [params] = useSearchParams();
  const cache = useQueryClient();
  const session = useQuery(askSession());
  const [token, setToken] = useState("");
  const [error, setError] = useState<unknown>();
  const [busy, setBusy] = useState(false);
  const submit = async () => {
    setBusy(true);
    setError(undefined);
    try {
      await must(client.POST("/api/v1/session", { body: { token: token.trim() } }));
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
        {session.data?.state === "ended" && <p>{w.ended}</p>}
        {wayBack(params.get("from")) !== "/" && <p>{w.back}</p>}
        <p className="dim">{w.easier}</p>
        <Ready of={session}>
          {(now) =>
            now.authentication === "none" ? <Link href="/">{words.load.home}</Link> : now.login.allowed ? (
              <>
                <label className="field block">
                  <span>{w.token}</span>
                  <input type="password" name="token" value={token} required autoComplete="off" autoFocus spellCheck={false} onChange={(e) => setToken(e.target.value)} />
                </label>
                <p className="dim">{w.hint}</p>
                <code className="command">{w.command(now.login.audience ?? "")}</code>
                {error !== undefined && <p className="refused" role="alert">{w.failed}: <Untrusted text={error instanceof Problem && error.status > 0 ? error.detail : words.load.unreachable} /></p>}
                <button type="submit" className="primary" disabled={busy}>{w.submit}</button>
              </>
            ) : (
              <p className="refused" role="alert">{now.login.reason}</p>
            )
          }
        </Ready>
      </form>
    </main>
  );
}
