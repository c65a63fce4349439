// What a person can do about a delivery: each asks once, shows exactly what is decided, and says what khook answered.
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { client, must, Problem } from "../api/client";
import { words } from "../words";
import { Dialog, Untrusted } from "./base";
import { useRefusal, useSay, type Action } from "./state";

type Target = { id: string; hook: { namespace: string; name: string }; questionId?: string; text?: string };

export function ActionButton({ action, target, primary, small }: { action: Action; target: Target; primary?: boolean; small?: boolean }) {
  const [open, setOpen] = useState(false);
  const why = useRefusal(action, target.hook);
  const tone = action === "reject" || action === "cancel" ? "danger" : primary ? "primary" : "";
  return (
    <>
      <button type="button" className={`${tone}${small ? " small" : ""}`} aria-disabled={why ? true : undefined} title={why} onClick={() => !why && setOpen(true)} data-action={action}>
        {words.act[action]}
        {why && <span className="visually-hidden">: {why}</span>}
      </button>
      {open && <Ask action={action} target={target} onClose={() => setOpen(false)} />}
    </>
  );
}

function Ask({ action, target, onClose }: { action: Action; target: Target; onClose: () => void }) {
  const [text, setText] = useState("");
  const say = useSay();
  const cache = useQueryClient();
  const doing = useMutation({
    mutationFn: () => send(action, target, text),
    onSuccess: () => {
      say(words.act.done[action] ?? "");
      onClose();
    },
    onSettled: () => void cache.invalidateQueries(),
  });
  const needsText = action === "reply";
  const takesText = needsText || action === "approve" || action === "reject";
  return (
    <Dialog title={words.act.ask[action] ?? ""} onClose={onClose} className="ask">
      <form
        onSubmit={(e) => {
          e.preventDefault();
          if (!doing.isPending) doing.mutate();
        }}
      >
        <p>{words.act.told[action]}</p>
        {target.text && takesText && (
          <pre className="exact" tabIndex={0}>
            <Untrusted text={target.text} />
          </pre>
        )}
        {takesText && (
          <label className="field block">
            <span>{needsText ? words.act.text : words.act.reason}</span>
            <textarea rows={needsText ? 4 : 2} value={text} required={needsText} maxLength={16_000} autoFocus={needsText} onChange={(e) => setText(e.target.value)} />
          </label>
        )}
        {doing.error && (
          <p className="refused" role="alert">
            {words.act.refused}: <Untrusted text={doing.error instanceof Problem && doing.error.status > 0 ? doing.error.detail : words.load.unreachable} />
          </p>
        )}
        <div className="buttons">
          <button type="button" onClick={onClose}>
            {words.close}
          </button>
          <button type="submit" className={action === "reject" || action === "cancel" ? "danger solid" : "primary"} disabled={doing.isPending || (needsText && !text.trim())} data-confirm={action}>
            {doing.isPending ? words.act.sending : words.act[action]}
          </button>
        </div>
      </form>
    </Dialog>
  );
}

async function send(action: Action, target: Target, text: string): Promise<unknown> {
  const params = { path: { id: target.id } };
  const words = text.trim() ? { text: text.trim() } : {};
  switch (action) {
    case "reply":
      return must(client.POST("/api/v1/deliveries/{id}/reply", { params, body: { ...words, ...(target.questionId ? { questionId: target.questionId } : {}) } }));
    case "approve":
    case "reject":
      return must(client.POST("/api/v1/deliveries/{id}/reply", { params, body: { ...words, decision: action, questionId: target.questionId } }));
    case "cancel":
      return must(client.POST("/api/v1/deliveries/{id}/cancel", { params }));
    case "retry":
      return must(client.POST("/api/v1/deliveries/{id}/retry", { params }));
    case "resume":
      return must(client.POST("/api/v1/deliveries/{id}/resume", { params }));
    case "pause":
    case "unpause": {
      const scope = target.hook.name ? { namespace: target.hook.namespace, hook: target.hook.name } : target.hook.namespace ? { namespace: target.hook.namespace } : { all: true };
      if (action === "pause") return must(client.POST("/api/v1/pause", { body: { ...scope, reason: text } }));
      return must(client.POST("/api/v1/resume", { body: scope }));
    }
  }
}
