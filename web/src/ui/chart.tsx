// A chart over time: columns stacked by what is counted.
import { useEffect, useRef } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import type { Schemas } from "../api/client";
import { typeOf } from "../words";

export function Chart({ trends }: { trends: Schemas["Trends"] }) {
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const el = box.current;
    if (!el) return;
    const draw = () => {
      const style = getComputedStyle(el);
      const color = (k: string, i: number) => style.getPropertyValue(trends.by === "type" ? `--t-${k}` : `--s-${i % 8}`).trim() || style.color;
      const xs = trends.buckets.map((b) => Date.parse(b.start) / 1000);
      // Stacked from below: each line is the sum of those up to it, and the highest is drawn first.
      const sums = xs.map(() => 0);
      const stacked = trends.keys.map((k) => trends.buckets.map((b, i) => (sums[i] = sums[i]! + (b.counts[k] ?? 0))));
      const own = trends.keys.map((k) => trends.buckets.map((b) => b.counts[k] ?? 0));
      const order = trends.keys.map((_, i) => trends.keys.length - 1 - i);
      const axis = { stroke: style.getPropertyValue("--dim").trim(), grid: { stroke: style.getPropertyValue("--line").trim(), width: 1 }, ticks: { show: false }, font: `12px ${style.fontFamily}` };
      return new uPlot(
        {
          width: el.clientWidth, height: 280,
          padding: [8, 8, 0, 0],
          cursor: { points: { show: false } },
          scales: { y: { range: (_u, _min, max) => [0, Math.max(1, max * 1.05)] } },
          axes: [axis, { ...axis, size: 44, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000] }],
          series: [
            {},
            ...order.map((i) => ({
              label: typeOf(trends.keys[i]!), stroke: color(trends.keys[i]!, i), fill: color(trends.keys[i]!, i), width: 0, points: { show: false },
              paths: uPlot.paths.bars!({ size: [0.8, 40], gap: 1 }),
              value: (_u: uPlot, _v: number, _s: number, at: number | null) => (at === null ? "" : String(own[i]![at])),
            })),
          ],
        },
        [xs, ...order.map((i) => stacked[i]!)],
        el,
      );
    };
    let chart = draw();
    const again = () => {
      chart.destroy();
      chart = draw();
    };
    const sized = new ResizeObserver(() => chart.setSize({ width: el.clientWidth, height: 280 }));
    sized.observe(el);
    const themed = new MutationObserver(again);
    themed.observe(document.documentElement, { attributeFilter: ["data-theme"] });
    const system = matchMedia("(prefers-color-scheme: dark)");
    system.addEventListener("change", again);
    return () => {
      sized.disconnect();
      themed.disconnect();
      system.removeEventListener("change", again);
      chart.destroy();
    };
  }, [trends]);
  return <div ref={box} className="chart" role="img" aria-label={trends.keys.map((k) => `${typeOf(k)}: ${trends.buckets.reduce((s, b) => s + (b.counts[k] ?? 0), 0)}`).join(", ")} />;
}
