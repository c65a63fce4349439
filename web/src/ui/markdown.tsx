// Markdown of agents, as React elements and nothing else: what is not known here stays text. HTML in it is text, pictures are
// not loaded, and a link opens only after its target was shown.
import { Lexer, type Token, type Tokens } from "marked";
import { createContext, useContext, useMemo, useState, type ReactNode } from "react";
import { openable } from "../lib/untrusted";
import { words } from "../words";
import { Dialog, Untrusted } from "./base";

const AskToOpen = createContext<(href: string) => void>(() => {});

// More than any agent nests on purpose; what is deeper is shown as text.
const deepest = 12;

export function Markdown({ text }: { text: string }) {
  const [asked, setAsked] = useState<string>();
  const tokens = useMemo(() => lex(text), [text]);
  return (
    <AskToOpen value={setAsked}>
      <div className="markdown">{tokens ? <Blocks tokens={tokens} depth={0} /> : <pre>{<Untrusted text={text} />}</pre>}</div>
      {asked && (
        <Dialog title={words.link.title} onClose={() => setAsked(undefined)}>
          <p>{words.link.told}</p>
          <p className="target mono">
            <Untrusted text={asked} />
          </p>
          <div className="buttons">
            <button type="button" onClick={() => setAsked(undefined)}>
              {words.cancel}
            </button>
            <a className="button primary" href={asked} target="_blank" rel="noopener noreferrer nofollow" onClick={() => setAsked(undefined)}>
              {words.link.open}
            </a>
          </div>
        </Dialog>
      )}
    </AskToOpen>
  );
}

function lex(text: string): Token[] | undefined {
  try {
    return new Lexer({ gfm: true, breaks: true }).lex(text);
  } catch {
    return undefined;
  }
}

function Blocks({ tokens, depth }: { tokens: Token[]; depth: number }): ReactNode {
  return tokens.map((t, i) => <Block key={i} token={t} depth={depth} />);
}

function Block({ token, depth }: { token: Token; depth: number }): ReactNode {
  if (depth > deepest) return <Untrusted text={token.raw} />;
  const inner = (tokens: Token[] | undefined) => <Blocks tokens={tokens ?? []} depth={depth + 1} />;
  switch (token.type) {
    case "space":
    case "def":
      return null;
    case "heading":
      return <p className={`heading h${Math.min((token as Tokens.Heading).depth, 4)}`}>{inner(token.tokens)}</p>;
    case "paragraph":
      return <p>{inner(token.tokens)}</p>;
    case "blockquote":
      return <blockquote>{inner(token.tokens)}</blockquote>;
    case "hr":
      return <hr />;
    case "code":
      return (
        <pre tabIndex={0}>
          <code>
            <Untrusted text={(token as Tokens.Code).text} />
          </code>
        </pre>
      );
    case "list":
      return <List list={token as Tokens.List} depth={depth} />;
    case "table":
      return <Table table={token as Tokens.Table} depth={depth} />;
    case "text":
      return token.tokens ? inner(token.tokens) : <Untrusted text={(token as Tokens.Text).text} />;
    case "escape":
      return <Untrusted text={(token as Tokens.Escape).text} />;
    case "strong":
      return <strong>{inner(token.tokens)}</strong>;
    case "em":
      return <em>{inner(token.tokens)}</em>;
    case "del":
      return <del>{inner(token.tokens)}</del>;
    case "br":
      return <br />;
    case "codespan":
      return (
        <code>
          <Untrusted text={(token as Tokens.Codespan).text} />
        </code>
      );
    case "link":
      return <Anchor link={token as Tokens.Link}>{inner(token.tokens)}</Anchor>;
    case "image":
      return (
        <span className="picture">
          [{words.link.image}: <Untrusted text={`${(token as Tokens.Image).text} ${(token as Tokens.Image).href}`} />]
        </span>
      );
    default:
      return <Untrusted text={token.raw} />; // HTML, and all that is not known
  }
}

function Anchor({ link, children }: { link: Tokens.Link; children: ReactNode }) {
  const ask = useContext(AskToOpen);
  const href = openable(link.href);
  if (!href) return <Untrusted text={link.raw} />;
  return (
    <button type="button" className="link" title={href} onClick={() => ask(href)}>
      {children}
    </button>
  );
}

function List({ list, depth }: { list: Tokens.List; depth: number }) {
  const items = list.items.map((item, i) => (
    <li key={i}>
      {item.task && <input type="checkbox" checked={item.checked ?? false} readOnly disabled aria-label={item.checked ? "☑" : "☐"} />}
      <Blocks tokens={item.tokens} depth={depth + 1} />
    </li>
  ));
  return list.ordered ? <ol start={Number(list.start) || 1}>{items}</ol> : <ul>{items}</ul>;
}

function Table({ table, depth }: { table: Tokens.Table; depth: number }) {
  return (
    <div className="scroll" tabIndex={0} role="group" aria-label="table">
      <table>
        <thead>
          <tr>
            {table.header.map((c, i) => (
              <th key={i} scope="col">
                <Blocks tokens={c.tokens} depth={depth + 1} />
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {table.rows.map((row, i) => (
            <tr key={i}>
              {row.map((c, j) => (
                <td key={j}>
                  <Blocks tokens={c.tokens} depth={depth + 1} />
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
