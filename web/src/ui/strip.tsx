// A strip of columns: how many of each kind in each bucket of time.
import { dayAndHour, hour } from "../lib/time";
import type { Schemas } from "../api/client";
import { typeOf } from "../words";

export function Strip({ trends, height = 72 }: { trends: Schemas["Trends"]; height?: number }) {
  const most = Math.max(1, ...trends.buckets.map((b) => b.total));
  const n = trends.buckets.length;
  const byType = trends.by === "type";
  return (
    <figure className="strip">
      <svg viewBox={`0 0 ${n * 10} ${height}`} preserveAspectRatio="none" role="img" aria-label={trends.keys.map((k) => `${typeOf(k)}: ${trends.buckets.reduce((s, b) => s + (b.counts[k] ?? 0), 0)}`).join(", ")}>
        {trends.buckets.map((b, i) => {
          let y = height;
          return (
            <g key={b.start}>
              <title>{`${dayAndHour(new Date(b.start))}: ${b.total}`}</title>
              <rect x={i * 10} y={0} width={10} height={height} className="hit" />
              {trends.keys.map((k, j) => {
                const h = ((b.counts[k] ?? 0) / most) * (height - 2);
                y -= h;
                return h > 0 ? <rect key={k} x={i * 10 + 1} y={y} width={8} height={h} className={byType ? `t-${k}` : `s-${j % 8}`} /> : null;
              })}
            </g>
          );
        })}
      </svg>
      <figcaption>
        <span className="dim">{hour(new Date(trends.startTime))}</span>
        <span className="legend">
          {trends.keys.slice(0, 6).map((k, j) => (
            <span key={k} className={byType ? `key t-${k}` : `key s-${j % 8}`}>
              {byType ? typeOf(k) : k}
            </span>
          ))}
        </span>
        <span className="dim">{hour(new Date(trends.endTime))}</span>
      </figcaption>
    </figure>
  );
}
