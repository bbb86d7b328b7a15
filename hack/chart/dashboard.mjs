// The Grafana dashboard of the chart, from a table of its panels.

const WIDTH = 24;
const PANELS_IN_A_ROW = 3;
const HEIGHT = 7;

const DATASOURCE = { type: 'prometheus', uid: '$datasource' };
const IN = 'namespace=~"$namespace"';
const OF = `${IN}, cache=~"$cache"`;
const byCache = (series) => `max by (namespace, cache) (${series}{${OF}})`;
const rate = (series, labels = IN) => `rate(${series}{${labels}}[$__rate_interval])`;
const p99 = (series, labels, by = '') =>
  `histogram_quantile(0.99, sum by (${by}le) (${rate(`${series}_bucket`, labels)}))`;

const CACHE = '{{namespace}}/{{cache}}';
const STORAGE = `${CACHE} {{storage}}`;

/** Sections of panels: title, unit, and each query with the legend of its lines. */
const SECTIONS = [
  {
    title: 'Requests',
    panels: [
      ['Requests', 'reqps', [`sum by (status) (${rate('narwhal_http_requests_total')})`, '{{status}}']],
      [
        'Narinfos found',
        'percentunit',
        [
          `sum by (namespace) (${rate('narwhal_narinfo_lookups_total', `${IN}, result="hit"`)}) / sum by (namespace) (${rate('narwhal_narinfo_lookups_total')})`,
          '{{namespace}}',
        ],
        [
          `sum by (namespace) (${rate('narwhal_narinfo_lookups_total', `${IN}, source="memory"`)}) / sum by (namespace) (${rate('narwhal_narinfo_lookups_total')})`,
          '{{namespace}}: answered from memory',
        ],
      ],
      [
        'Traffic',
        'Bps',
        [`sum(${rate('narwhal_sent_bytes_total')})`, 'objects sent'],
        [`sum(${rate('narwhal_received_bytes_total')})`, 'bodies received'],
      ],
      [
        'Files that are sent',
        'short',
        [`sum by (pod) (narwhal_downloads{${IN}})`, '{{pod}}'],
        [`sum by (pod) (${rate('narwhal_downloads_shed_total')})`, '{{pod}}: sent away, per second'],
      ],
      ['Pushes that are received', 'short', [`sum by (state) (narwhal_push_bodies{${IN}})`, '{{state}}']],
      ['Uploads that are open', 'short', [byCache('narwhal_uploads_open'), CACHE]],
    ],
  },
  {
    title: 'Content',
    panels: [
      ['Paths', 'short', [byCache('narwhal_paths'), CACHE]],
      ['Paths published', 'ops', [`sum by (namespace, cache) (${rate('narwhal_paths_published_total', OF)})`, CACHE]],
      [
        'Storages',
        'bytes',
        [`max by (namespace, cache, storage, kind) (narwhal_storage_bytes{${OF}})`, `${STORAGE} {{kind}}`],
      ],
      [
        'Storages that can be used',
        'bool_yes_no',
        [`min by (namespace, cache, storage) (narwhal_storage_ready{${OF}})`, STORAGE],
      ],
      [
        'Objects left to drain',
        'short',
        [`min by (namespace, cache, storage) (narwhal_storage_drain_objects{${OF}})`, STORAGE],
      ],
      [
        'Removed by the garbage collection',
        'bytes',
        [
          `sum by (namespace, cache) (increase(narwhal_collection_removed_bytes_total{${OF}}[1h]))`,
          `${CACHE} in an hour`,
        ],
      ],
      ['Removed paths whose bytes are kept', 'short', [byCache('narwhal_retired_paths'), CACHE]],
      [
        'Garbage collections, last result',
        'short',
        [`max by (namespace, cache, result) (narwhal_collection_result{${OF}}) == 1`, `${CACHE} {{result}}`],
      ],
      [
        'S3 requests',
        'reqps',
        [`sum by (operation, status) (${rate('narwhal_s3_requests_total', OF)})`, '{{operation}} {{status}}'],
      ],
    ],
  },
  {
    title: 'Servers',
    panels: [
      ['Commit, 99th percentile', 's', [p99('narwhal_database_commit_seconds', OF, 'namespace, cache, '), CACHE]],
      ['Writes that wait', 'short', [byCache('narwhal_database_queue'), CACHE]],
      [
        'Verification, 99th percentile',
        's',
        [p99('narwhal_verification_seconds', IN), 'from the last byte to the verdict'],
      ],
      ['Memory', 'bytes', [`process_resident_memory_bytes{${IN}} and on (pod) narwhal_downloads`, '{{pod}}']],
      ['CPU', 'short', [`${rate('process_cpu_seconds_total')} and on (pod) narwhal_downloads`, '{{pod}}']],
      [
        'Event loop delay, 99th percentile',
        's',
        [`nodejs_eventloop_lag_p99_seconds{${IN}} and on (pod) narwhal_downloads`, '{{pod}}'],
      ],
    ],
  },
  {
    title: 'Operator',
    panels: [
      ['Leader', 'bool_yes_no', ['narwhal_operator_leader', '{{pod}}']],
      [
        'Reconciles',
        'ops',
        [
          'sum by (controller, result) (rate(narwhal_operator_reconcile_seconds_count[$__rate_interval]))',
          '{{controller}} {{result}}',
        ],
      ],
      ['Caches that wait', 'short', ['sum by (controller) (narwhal_operator_queue_depth)', '{{controller}}']],
    ],
  },
];

export function toDashboard() {
  let y = 0;
  let id = 0;
  const panels = SECTIONS.flatMap(({ title, panels: inSection }) => {
    id += 1;
    const row = { id, type: 'row', title, collapsed: false, panels: [], gridPos: { x: 0, y, w: WIDTH, h: 1 } };
    y += 1;
    const shown = inSection.map((panel, index) => {
      id += 1;
      const column = index % PANELS_IN_A_ROW;
      if (column === 0 && index > 0) y += HEIGHT;
      const w = WIDTH / PANELS_IN_A_ROW;
      return { id, ...timeSeries(panel), gridPos: { x: column * w, y, w, h: HEIGHT } };
    });
    y += HEIGHT;
    return [row, ...shown];
  });
  return {
    uid: 'narwhal',
    title: 'Narwhal',
    tags: ['nix', 'narwhal'],
    schemaVersion: 39,
    refresh: '1m',
    time: { from: 'now-6h', to: 'now' },
    templating: {
      list: [
        { name: 'datasource', type: 'datasource', query: 'prometheus' },
        variable('namespace', 'label_values(narwhal_paths, namespace)'),
        variable('cache', `label_values(narwhal_paths{${IN}}, cache)`),
      ],
    },
    panels,
  };
}

function timeSeries([title, unit, ...queries]) {
  return {
    type: 'timeseries',
    title,
    datasource: DATASOURCE,
    fieldConfig: { defaults: { unit, min: 0 }, overrides: [] },
    targets: queries.map(([expr, legendFormat], index) => ({ refId: 'AB'[index], expr, legendFormat })),
  };
}

function variable(name, query) {
  return {
    name,
    type: 'query',
    datasource: DATASOURCE,
    query,
    definition: query,
    refresh: 2,
    multi: true,
    includeAll: true,
    current: { text: 'All', value: '$__all' },
  };
}
