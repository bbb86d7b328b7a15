/** For every rule of crds/rules.ts, objects that keep it and objects that break it: for a process and an API server alike. */
import type { Kind } from '../../crds/index.ts';
import { disk, type Manifest, manifestOf, type Value } from '../support/manifests.ts';
import { hash, key, pin, postgres, s3, shared, split, token } from './crd-specs.ts';

export interface RuleExample {
  readonly title: string;
  readonly spec: Value;
  /** The name of the object. */
  readonly name?: string;
  /** The object as it was stored before. */
  readonly before?: { readonly spec: Value; readonly status?: Value };
  /** The field at fault; none where the rule is kept. */
  readonly field?: string;
}

export interface RuleExamples {
  readonly kind: Kind['kind'];
  readonly at: string;
  readonly message: string;
  readonly examples: readonly RuleExample[];
}

const keeps = (title: string, spec: Value, more: Partial<RuleExample> = {}): RuleExample => ({ title, spec, ...more });
const breaks = (field: string, title: string, spec: Value, more: Partial<RuleExample> = {}): RuleExample => ({
  title,
  spec,
  field,
  ...more,
});
const ruleOf =
  (kind: Kind['kind']) =>
  (at: string, message: string, ...examples: RuleExample[]): RuleExamples => ({ kind, at, message, examples });
const cacheRule = ruleOf('BinaryCache');
const workspaceRule = ruleOf('Workspace');
const agentRule = ruleOf('Agent');

const onPostgres = (more: Value): Value => ({
  ...postgres,
  database: { postgres: { secretRef: { name: 'pg' }, ...more } },
});
const storages = (...list: Value[]): Value => ({ storages: list });
const old = (more: Value = {}): Value => ({ name: 'old', local: {}, ...more });
const oldIs = (phase: string): Value => ({ storages: [{ name: 'old', phase }] });
const local = (more: Value): Value => storages({ ...disk, local: more });
const bucket = (more: Value): Value => storages({ ...s3, s3: { bucket: 'nix', ...more } });
const sqlite = (more: Value): Value => ({ database: { sqlite: more } });

const names: readonly RuleExamples[] = [
  cacheRule(
    '',
    'the name must have at most 45 characters, so that the names derived from it stay within 63',
    keeps('a name of 45 letters', {}, { name: 'a'.repeat(45) }),
    breaks('metadata.name', 'a name of 46 letters', {}, { name: 'a'.repeat(46) }),
  ),
  cacheRule(
    '',
    'the name must not contain a dot: it is one label of a host name',
    keeps('a name with a dash', {}, { name: 'a-b' }),
    breaks('metadata.name', 'a name with a dot', {}, { name: 'a.b' }),
  ),
  cacheRule(
    '',
    'the name must begin with a letter: it is the name of a Service too',
    keeps('a name with a digit', {}, { name: 'a1' }),
    breaks('metadata.name', 'a name that begins with a digit', {}, { name: '1a' }),
  ),
  cacheRule(
    '',
    'the name must not be "api": that host name belongs to the API',
    keeps('the name api2', {}, { name: 'api2' }),
    breaks('metadata.name', 'the name api', {}, { name: 'api' }),
  ),
];

const removal = cacheRule(
  '',
  'a storage can be removed once status.storages says Drained (set its mode to Drain first), or after mode Abandoned',
  keeps('another storage', storages(disk, old()), { before: { spec: storages(disk) } }),
  keeps('storages in another order', storages(old(), disk), { before: { spec: storages(disk, old()) } }),
  keeps('the removal of a drained storage', storages(disk), {
    before: { spec: storages(disk, old({ mode: 'Drain' })), status: oldIs('Drained') },
  }),
  keeps('the removal of an abandoned storage', storages(disk), {
    before: { spec: storages(disk, old({ mode: 'Abandoned' })), status: oldIs('Ready') },
  }),
  breaks('spec.storages', 'the removal of a storage in use', storages(disk), {
    before: { spec: storages(disk, old()), status: oldIs('Ready') },
  }),
  breaks('spec.storages', 'the removal of a storage that is being drained', storages(disk), {
    before: { spec: storages(disk, old({ mode: 'Drain' })), status: oldIs('Draining') },
  }),
  breaks('spec.storages', 'the removal of a storage that no status speaks of', storages(disk), {
    before: { spec: storages(disk, old({ mode: 'Drain' })) },
  }),
  breaks('spec.storages', 'another name for a storage', storages({ ...disk, name: 'disk2' }), {
    before: { spec: storages(disk), status: { storages: [{ name: 'disk2', phase: 'Drained' }] } },
  }),
);

const specs: readonly RuleExamples[] = [
  cacheRule(
    'spec',
    'sqlite and postgres exclude each other: keep one',
    keeps('PostgreSQL alone', postgres),
    keeps('SQLite alone', sqlite({})),
    breaks('spec.database.postgres', 'PostgreSQL beside SQLite', {
      ...postgres,
      database: { sqlite: {}, postgres: { secretRef: { name: 'pg' } } },
    }),
  ),
  cacheRule(
    'spec',
    'strategy Split needs a weight on every storage',
    keeps('Split with a weight of 0', split(0, 100)),
    breaks('spec.storages[1]', 'Split with a weight missing', split(100, undefined)),
  ),
  cacheRule(
    'spec',
    'with strategy Split the weights of all storages must make 100 together',
    keeps('Split with weights that make 100', split(40, 60)),
    breaks('spec.storages', 'Split with weights that make 90', split(40, 50)),
  ),
  cacheRule(
    'spec',
    'ingress and httpRoute exclude each other: keep one',
    keeps('an HTTPRoute', { httpRoute: { hostnames: ['a.b'], parentRefs: [{ name: 'gw' }] } }),
    breaks('spec.httpRoute', 'an ingress and an HTTPRoute', {
      ingress: { host: 'a.b' },
      httpRoute: { hostnames: ['a.b'], parentRefs: [{ name: 'gw' }] },
    }),
  ),
  cacheRule(
    'spec',
    'more than one pod needs database.postgres',
    keeps('two replicas with PostgreSQL and a bucket', { ...postgres, replicas: 2, storages: [s3] }),
    breaks('spec.replicas', 'two replicas with SQLite', { replicas: 2, storages: [s3] }),
    breaks('spec.autoscaling', 'autoscaling with SQLite', { autoscaling: { maxReplicas: 3 }, storages: [s3] }),
    breaks(
      'spec.replicas',
      'a second replica of what is there',
      { replicas: 2, storages: [s3] },
      { before: { spec: { replicas: 1, storages: [s3] } } },
    ),
  ),
  cacheRule(
    'spec',
    'more than one pod needs storages that all pods share: s3, or local with accessMode ReadWriteMany',
    keeps('two replicas with a shared folder', { ...postgres, replicas: 2, storages: [shared] }),
    keeps('autoscaling with a bucket', { ...postgres, autoscaling: { maxReplicas: 3 }, storages: [s3] }),
    breaks('spec.replicas', 'two replicas with a disk of one node', { ...postgres, replicas: 2, storages: [s3, disk] }),
  ),
  cacheRule(
    'spec',
    'database.postgres needs rootSecretRef: with a shared database no server generates a key',
    keeps('PostgreSQL with a root key', postgres),
    breaks('spec.rootSecretRef', 'PostgreSQL without a root key', { ...postgres, rootSecretRef: undefined }),
  ),
  cacheRule(
    'spec',
    'database.postgres needs signing.secretRefs, unless signing.mode is SelfSigned',
    keeps('PostgreSQL without a signing key, self-signed', { ...postgres, signing: { mode: 'SelfSigned' } }),
    breaks('spec.signing.secretRefs', 'PostgreSQL without a signing key', { ...postgres, signing: {} }),
  ),
  cacheRule(
    'spec',
    'database.postgres needs sha256 or secretRef on every token',
    keeps('PostgreSQL with hashed tokens', { ...postgres, tokens: [token({ sha256: hash })] }),
    breaks('spec.tokens[0]', 'PostgreSQL with a token to generate', { ...postgres, tokens: [token({})] }),
  ),
];

const parts: readonly RuleExamples[] = [
  cacheRule(
    'spec.storages[]',
    'needs exactly one of local and s3',
    keeps('a storage in a bucket', storages(s3)),
    breaks('spec.storages[0]', 'a storage without a place', storages({ name: 'disk' })),
    breaks('spec.storages[0]', 'a storage in two places', storages({ ...s3, local: {} })),
  ),
  cacheRule(
    'spec.storages[]',
    'the name must not be "db": that volume belongs to the database',
    keeps('a storage named db2', storages({ ...disk, name: 'db2' })),
    breaks('spec.storages[0].name', 'a storage named db', storages({ ...disk, name: 'db' })),
  ),
  cacheRule(
    'spec.storages[]',
    'the kind of a storage cannot change: add one under another name and drain this one',
    keeps('a bucket beside a disk', storages(s3, disk), { before: { spec: storages(disk) } }),
    breaks('spec.storages[0]', 'a disk that becomes a bucket', storages({ ...s3, name: 'disk' }), {
      before: { spec: storages(disk) },
    }),
    breaks('spec.storages[1]', 'a bucket that becomes a disk', storages(old(), { ...disk, name: 'cloud' }), {
      before: { spec: storages(s3, old()) },
    }),
  ),
  cacheRule(
    'spec.storages[].local',
    'size can only grow',
    keeps('a disk that grows', local({ size: '20Gi' }), { before: { spec: local({}) } }),
    keeps('a size in other units', local({ size: 1610612736 }), { before: { spec: local({ size: '1.5Gi' }) } }),
    keeps('disks that change places', storages(old({ local: { size: '1Gi' } }), disk), {
      before: { spec: storages(disk, old({ local: { size: '1Gi' } })) },
    }),
    breaks('spec.storages[0].local.size', 'a disk that shrinks', local({ size: '10G' }), {
      before: { spec: local({ size: '10Gi' }) },
    }),
    breaks('spec.storages[0].local.size', 'a disk that shrinks to the default', local({}), {
      before: { spec: local({ size: 21474836480 }) },
    }),
  ),
  cacheRule(
    'spec.storages[].local',
    'storageClassName cannot change',
    keeps('the same class', local({ size: '20Gi', storageClassName: 'fast' }), {
      before: { spec: local({ storageClassName: 'fast' }) },
    }),
    breaks('spec.storages[0].local.storageClassName', 'another class', local({ storageClassName: 'slow' }), {
      before: { spec: local({ storageClassName: 'fast' }) },
    }),
    breaks(
      'spec.storages[0].local.storageClassName',
      'a class that there was none',
      local({ storageClassName: 'fast' }),
      {
        before: { spec: local({}) },
      },
    ),
    breaks('spec.storages[0].local.storageClassName', 'a class no longer', local({}), {
      before: { spec: local({ storageClassName: 'fast' }) },
    }),
  ),
  ...(['bucket', 'endpoint', 'prefix'] as const).map((field) => {
    const value = field === 'endpoint' ? 'https://s3.example.org' : 'first';
    const other = field === 'endpoint' ? 'https://s3.example.net' : 'second';
    return cacheRule(
      'spec.storages[].s3',
      `${field} cannot change`,
      keeps(`the same ${field}`, bucket({ [field]: value, region: 'eu-central-1' }), {
        before: { spec: bucket({ [field]: value }) },
      }),
      breaks(`spec.storages[0].s3.${field}`, `another ${field}`, bucket({ [field]: other }), {
        before: { spec: bucket({ [field]: value }) },
      }),
      breaks(`spec.storages[0].s3.${field}`, `nothing said of the ${field}`, bucket({}), {
        before: { spec: bucket({ [field]: value }) },
      }),
    );
  }),
  cacheRule(
    'spec.database.sqlite',
    'size can only grow',
    keeps('a database that grows', sqlite({ size: '20Gi' }), { before: { spec: sqlite({ size: '10Gi' }) } }),
    breaks('spec.database.sqlite.size', 'a database that shrinks', sqlite({ size: '9Gi' }), {
      before: { spec: sqlite({}) },
    }),
  ),
  cacheRule(
    'spec.database.sqlite',
    'storageClassName cannot change',
    keeps('the same class', sqlite({ storageClassName: 'fast' }), {
      before: { spec: sqlite({ storageClassName: 'fast' }) },
    }),
    breaks('spec.database.sqlite.storageClassName', 'another class', sqlite({ storageClassName: 'slow' }), {
      before: { spec: sqlite({ storageClassName: 'fast' }) },
    }),
  ),
  cacheRule(
    'spec.database.postgres.tls',
    'mode VerifyCa needs caSecretRef: with the CAs that the world trusts, anybody could answer',
    keeps('TLS with a CA of its own', onPostgres({ tls: { mode: 'VerifyCa', caSecretRef: { name: 'ca' } } })),
    keeps('TLS without a CA of its own', onPostgres({ tls: { mode: 'VerifyFull' } })),
    breaks('spec.database.postgres.tls.caSecretRef', 'TLS by any CA', onPostgres({ tls: { mode: 'VerifyCa' } })),
  ),
  cacheRule(
    'spec.database.postgres.tls',
    'caSecretRef belongs to the modes VerifyCa and VerifyFull: the others verify nothing',
    keeps('a CA for the full check', onPostgres({ tls: { mode: 'VerifyFull', caSecretRef: { name: 'ca' } } })),
    breaks(
      'spec.database.postgres.tls.caSecretRef',
      'a CA that verifies nothing',
      onPostgres({ tls: { mode: 'Require', caSecretRef: { name: 'ca' } } }),
    ),
  ),
  cacheRule(
    'spec.signing',
    'with mode SelfSigned the server signs nothing: remove secretRefs, or use mode Managed',
    keeps('signing keys', { signing: { secretRefs: [{ name: 'k' }] } }),
    breaks('spec.signing.secretRefs', 'signing keys with SelfSigned', {
      signing: { mode: 'SelfSigned', secretRefs: [{ name: 'k' }] },
    }),
  ),
  cacheRule(
    'spec.signing',
    'publicKeys belong to mode SelfSigned: with mode Managed they follow from the signing keys',
    keeps('keys of pushers with SelfSigned', { signing: { mode: 'SelfSigned', publicKeys: [key] } }),
    breaks('spec.signing.publicKeys', 'keys of pushers with Managed', { signing: { publicKeys: [key] } }),
  ),
  cacheRule(
    'spec.tokens[]',
    'sha256 and secretRef exclude each other: keep one',
    keeps('a token from a Secret', { tokens: [token({ secretRef: { name: 'x' } })] }),
    breaks('spec.tokens[0].secretRef', 'a token with hash and Secret', {
      tokens: [token({ sha256: hash, secretRef: { name: 'x' } })],
    }),
  ),
  cacheRule(
    'spec.pins[].keep',
    'needs exactly one of days and revisions; without keep all revisions stay',
    keeps('a pin kept for days', { pins: [pin({ keep: { days: 1 } })] }),
    keeps('a pin kept for revisions', { pins: [pin({ keep: { revisions: 1 } })] }),
    breaks('spec.pins[0].keep', 'a pin kept for nothing', { pins: [pin({ keep: {} })] }),
    breaks('spec.pins[0].keep', 'a pin kept for both', { pins: [pin({ keep: { days: 1, revisions: 1 } })] }),
  ),
  cacheRule(
    'spec',
    'quota.maxSize is below retention.maxSize: pushes would be refused before anything is removed',
    keeps('a quota that retention reaches first', { quota: { maxSize: '2Ti' }, retention: { maxSize: '1Ti' } }),
    keeps('a quota beside a retention by days', { quota: { maxSize: 5 }, retention: { days: 1 } }),
    breaks('spec.quota.maxSize', 'a quota that retention never reaches', {
      quota: { maxSize: '1000Gi' },
      retention: { maxSize: '1Ti' },
    }),
  ),
  cacheRule(
    'spec.retention',
    'needs days or maxSize; without retention everything is kept',
    keeps('a retention by days', { retention: { days: 3 } }),
    keeps('a retention by size', { retention: { maxSize: '1Ti' } }),
    breaks('spec.retention', 'a retention by nothing', { retention: {} }),
  ),
  cacheRule(
    'spec.retention',
    'lowPercent is above highPercent: paths go from the high mark down to the low one',
    keeps('water marks that are one', { retention: { maxSize: '1Ti', highPercent: 80, lowPercent: 80 } }),
    breaks('spec.retention.lowPercent', 'water marks the wrong way round', {
      retention: { maxSize: '1Ti', highPercent: 80, lowPercent: 81 },
    }),
  ),
  cacheRule(
    'spec.upstreams[]',
    'mode Proxy needs publicKeys: nothing is taken over unverified',
    keeps('an upstream to proxy', { upstreams: [{ url: 'https://a.b', mode: 'Proxy', publicKeys: [key] }] }),
    breaks('spec.upstreams[0].publicKeys', 'an upstream to proxy, unverified', {
      upstreams: [{ url: 'https://cache.nixos.org', mode: 'Proxy' }],
    }),
  ),
  cacheRule(
    'spec.autoscaling',
    'minReplicas must not exceed maxReplicas',
    keeps('autoscaling from two to three', {
      ...postgres,
      autoscaling: { minReplicas: 2, maxReplicas: 3 },
      storages: [s3],
    }),
    breaks('spec.autoscaling.minReplicas', 'autoscaling from more to fewer', {
      ...postgres,
      autoscaling: { minReplicas: 4, maxReplicas: 3 },
      storages: [s3],
    }),
  ),
];

const workspace = (more: Value = {}): Value => ({ cacheRef: { name: 'main' }, ...more });
const agent = (more: Value = {}): Value => ({ workspaceRef: { name: 'machines' }, ...more });

const machines: readonly RuleExamples[] = [
  workspaceRule(
    'spec',
    'cacheRef cannot change',
    keeps('the same cache', workspace({ registration: 'Declared' }), { before: { spec: workspace() } }),
    breaks('spec.cacheRef', 'another cache', workspace({ cacheRef: { name: 'other' } }), {
      before: { spec: workspace() },
    }),
  ),
  workspaceRule(
    'spec.tokens[]',
    'sha256 and secretRef exclude each other: keep one',
    keeps('a token by its hash', workspace({ tokens: [{ name: 'a', kind: 'Agent', sha256: hash }] })),
    breaks(
      'spec.tokens[0].secretRef',
      'a token with hash and Secret',
      workspace({ tokens: [{ name: 'a', kind: 'Agent', sha256: hash, secretRef: { name: 'x' } }] }),
    ),
  ),
  agentRule(
    'spec',
    'workspaceRef cannot change',
    keeps('the same workspace', agent({ token: {} }), { before: { spec: agent() } }),
    breaks('spec.workspaceRef', 'another workspace', agent({ workspaceRef: { name: 'other' } }), {
      before: { spec: agent() },
    }),
  ),
  agentRule(
    'spec',
    'agentName cannot change',
    keeps('the same name', agent({ agentName: 'Web-1', token: {} }), {
      before: { spec: agent({ agentName: 'Web-1' }) },
    }),
    breaks('spec.agentName', 'another name', agent({ agentName: 'web-2' }), {
      before: { spec: agent({ agentName: 'web-1' }) },
    }),
    breaks('spec.agentName', 'a name that there was none', agent({ agentName: 'web-1' }), {
      before: { spec: agent() },
    }),
  ),
  agentRule(
    'spec.token',
    'sha256 and secretRef exclude each other: keep one',
    keeps('a token from a Secret', agent({ token: { secretRef: { name: 'x' } } })),
    breaks(
      'spec.token.secretRef',
      'a token with hash and Secret',
      agent({ token: { sha256: hash, secretRef: { name: 'x' } } }),
    ),
  ),
];

export const ruleExamples: readonly RuleExamples[] = [...names, removal, ...specs, ...parts, ...machines];

/** The objects of an example as manifests: as it is to be, and as it was. */
export function manifestsOf(
  kind: Kind['kind'],
  { spec, name, before }: RuleExample,
): { now: Manifest; before?: Manifest } {
  const manifest = (written: Value) => manifestOf(kind, written, name === undefined ? {} : { name });
  if (before === undefined) return { now: manifest(spec) };
  return { now: manifest(spec), before: { ...manifest(before.spec), ...(before.status && { status: before.status }) } };
}
