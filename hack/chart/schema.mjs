// values.schema.json of the chart: what values.yaml shows by its defaults, and below what a default cannot show. A value
// that is not there is a mistyped one and is refused.

const string = { type: 'string' };
const boundedInteger = (minimum, maximum) => ({ type: 'integer', minimum, maximum });
const optionalPort = { ...boundedInteger(1, 65535), type: ['integer', 'null'] };
const strings = { type: 'array', items: string, uniqueItems: true };
const stringMap = { type: 'object', additionalProperties: string };
const objects = { type: 'array', items: { type: 'object' } };
const namespaces = { ...strings, items: { type: 'string', pattern: '^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$' } };
/** As in `10.0.0.0/8`. */
const networks = { ...strings, items: { type: 'string', pattern: '^[0-9a-fA-F.:]+(/[0-9]{1,3})?$' } };
/** As in `*.{namespace}.example.org`. */
const hosts = {
  type: 'object',
  propertyNames: { pattern: '^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?|\\*)$' },
  additionalProperties: {
    ...strings,
    items: {
      type: 'string',
      pattern: '^(\\*|(\\*\\.)?([-a-z0-9]|\\{namespace\\})+(\\.([-a-z0-9]|\\{namespace\\})+)*)$',
    },
  },
};
/** As in `cert-manager.io/issuer`, with `*` or `=*` behind it. A comma would end it. */
const annotationNames = { ...strings, items: { type: 'string', pattern: '^[-a-zA-Z0-9._/]+\\*?(=\\*)?$' } };
const quantities = { type: 'object', additionalProperties: { type: ['string', 'number'] } };

/** Of a value everywhere, by its own name; or in one place, by its path. */
const REFINED = {
  affinity: { type: 'object' },
  annotations: stringMap,
  env: { type: 'array', items: { type: 'object', required: ['name'] } },
  labels: stringMap,
  nodeSelector: stringMap,
  podAnnotations: stringMap,
  replicas: boundedInteger(0, 100),
  resources: { ...closed({ requests: quantities, limits: quantities, claims: objects }) },
  tolerations: objects,
  trustedProxies: networks,
  imagePullSecrets: { type: 'array', items: { ...closed({ name: string }), required: ['name'] } },
  commonLabels: stringMap,
  logLevel: { enum: ['fatal', 'error', 'warn', 'info', 'debug', 'trace'] },
  watchNamespaces: namespaces,
  podSecurityContext: { type: 'object' },
  securityContext: { type: 'object' },
  'image.digest': { type: 'string', pattern: '^(sha256:[0-9a-f]{64})?$' },
  'image.pullPolicy': { enum: ['Always', 'IfNotPresent', 'Never'] },
  'caches.hosts': hosts,
  'caches.ingressAnnotations': annotationNames,
  'gateway.namespaces': namespaces,
  'gateway.namesPerNamespace': boundedInteger(1, 2000),
  'gateway.tokensPerNamespace': boundedInteger(1, 10_000),
  'gateway.releaseNamesAfterDays': { type: ['number', 'null'], exclusiveMinimum: 0, maximum: 36_525 },
  'gateway.releaseTokensAfterDays': { type: 'number', exclusiveMinimum: 0, maximum: 36_525 },
  'gateway.terminationGracePeriodSeconds': boundedInteger(30, 86_400),
  'gateway.service.type': { enum: ['ClusterIP', 'NodePort', 'LoadBalancer'] },
  'gateway.service.port': optionalPort,
  'gateway.service.nodePort': optionalPort,
  'gateway.service.loadBalancerSourceRanges': networks,
  'gateway.service.externalTrafficPolicy': { enum: ['', 'Cluster', 'Local'] },
  'gateway.httpRoute.parentRefs': { type: 'array', items: { type: 'object', required: ['name'] } },
  'networkPolicy.metricsFrom': objects,
  'grafanaDashboard.mode': { enum: ['Sidecar', 'GrafanaOperator'] },
  'grafanaDashboard.instanceLabels': stringMap,
};

/** @param {import('./values.mjs').Value[]} values */
export function toSchema(values) {
  // A chart that has this one as a part hands its `global` down.
  const root = closed({ global: { type: 'object' } });
  const seen = new Set();
  for (const { path, initial, description } of values) {
    const name = path.at(-1);
    const key = [path.join('.'), name].find((it) => it in REFINED);
    seen.add(key);
    groupOf(root, path.slice(0, -1)).properties[name] = { description, ...(REFINED[key] ?? plain(path, initial)) };
  }
  const unused = Object.keys(REFINED).filter((key) => !seen.has(key));
  if (unused.length > 0) throw new Error(`the schema refines values that are not there: ${unused.join(', ')}`);
  return { $schema: 'http://json-schema.org/draft-07/schema#', title: 'Values of the chart narwhal', ...root };
}

function plain(path, initial) {
  const type = typeof initial;
  if (type === 'string' || type === 'boolean') return { type };
  throw new Error(`hack/chart/schema.mjs has to say what ${path.join('.')} may be: its default does not`);
}

function groupOf(root, path) {
  return path.reduce((group, name) => {
    group.properties[name] ??= closed({});
    return group.properties[name];
  }, root);
}

function closed(properties) {
  return { type: 'object', additionalProperties: false, properties };
}
