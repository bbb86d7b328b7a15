import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { parser } from '@prometheus-io/lezer-promql';
import { collectDefaultMetrics, Registry } from 'prom-client';
import { parse } from 'yaml';
import { toDashboard } from '../../../hack/chart/dashboard.mjs';
import { root } from '../../../hack/lib/places.mjs';

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly for: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

const { groups } = parse(readFileSync(path.join(root, 'charts/narwhal/files/alerts.yaml'), 'utf8')) as {
  groups: { rules: Rule[] }[];
};
const rules = groups.flatMap((group) => group.rules);

const queries = [
  ...rules.map(({ alert, expr }) => ({ title: alert, expr })),
  ...toDashboard().panels.flatMap(({ title, targets = [] }: { title: string; targets?: { expr: string }[] }) =>
    targets.map(({ expr }) => ({ title, expr: expr.replaceAll('$__rate_interval', '5m') })),
  ),
];

/** The series of a query; throws where it is none. */
function seriesIn(expr: string): string[] {
  const series: string[] = [];
  parser.parse(expr).iterate({
    enter: ({ type, from, to, node }) => {
      if (type.isError) throw new Error(`${expr}: cannot be read at ${from}`);
      if (type.name === 'Identifier' && node.parent?.name === 'VectorSelector') series.push(expr.slice(from, to));
    },
  });
  return series;
}

/** The series that our programs have. */
function knownSeries(): Set<string> {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const server = ['metrics', 'gauges']
    .map((name) => readFileSync(path.join(root, `server/http/${name}.ts`), 'utf8'))
    .join('\n');
  return new Set([
    ...registry.getMetricsAsArray().map(({ name }) => name),
    ...[...server.matchAll(/'(narwhal_[a-z0-9_]+)'/g)].map(([, name = '']) => name),
    // Of the operator's runtime.
    ...['leader', 'reconcile_seconds', 'queue_depth'].map((name) => `narwhal_operator_${name}`),
  ]);
}

describe('alerts and dashboard', () => {
  const known = knownSeries();
  for (const { title, expr } of queries) {
    it(`ask by "${title}" for series that exist: ${expr.slice(0, 60)}`, () => {
      const series = seriesIn(expr);
      assert.ok(series.length > 0);
      for (const name of series)
        assert.ok(known.has(name) || known.has(name.replace(/_(bucket|count|sum)$/, '')), name);
    });
  }

  it('notice a query that is none', () => {
    assert.throws(() => seriesIn('sum by (le (rate(a[5m]))'), /cannot be read/);
  });

  it('say of each alert how bad it is, what is wrong and what to do', () => {
    const install = readFileSync(path.join(root, 'docs/install.md'), 'utf8');
    for (const { alert, labels, annotations } of rules) {
      assert.match(labels.severity ?? '', /^(warning|critical)$/, alert);
      assert.match(annotations.summary ?? '', /\.$/, alert);
      assert.match(annotations.description ?? '', /\.$/, alert);
      assert.ok(install.includes(`\`${alert}\``), `docs/install.md lacks ${alert}`);
    }
  });

  it('place no panel over another', () => {
    const { panels } = toDashboard() as { panels: { gridPos: { x: number; y: number; w: number; h: number } }[] };
    const cells = panels.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, index) => `${x + (index % w)},${y + Math.floor(index / w)}`),
    );
    assert.equal(new Set(cells).size, cells.length);
  });
});
