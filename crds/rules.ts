import type { BinaryCacheSpec, SigningSpec, TokenSpec, UpstreamSpec } from './binary-cache.ts';
import type { BinaryCacheStatus } from './binary-cache-status.ts';
import { earlierValue, isWithin, type Path, select } from './path.ts';
import { parseQuantity } from './quantity.ts';
import type { StorageSpec } from './storage.ts';
import type { Issue } from './validate.ts';

/**
 * A rule over several fields, written twice side by side: in CEL for the API server, and as a function for a process
 * without one. The function names the field at fault, from the place of the rule on; nothing when the rule holds.
 */
export interface Rule<T> {
  cel: string;
  message: string;
  broken?(self: T): Path | undefined;
  /** Instead, for a rule of changes: `old` is what stood at the same place before. */
  brokenSince?(self: T, old: T): Path | undefined;
}

/** The rules of one place. `storages[]` means each entry; an empty text means the whole object. */
export interface RuleSet {
  at: string;
  rules: readonly Rule<never>[];
}

function rulesAt<T>(at: string, rules: readonly Rule<T>[]): RuleSet {
  return { at, rules };
}

interface Named {
  metadata: { name: string };
}

const nameRules: readonly Rule<Named>[] = [
  {
    cel: 'self.metadata.name.size() <= 45',
    message: 'the name must have at most 45 characters, so that the names derived from it stay within 63',
    broken: (self) => (self.metadata.name.length > 45 ? ['metadata', 'name'] : undefined),
  },
  {
    cel: "!self.metadata.name.contains('.')",
    message: 'the name must not contain a dot: it is one label of a host name',
    broken: (self) => (self.metadata.name.includes('.') ? ['metadata', 'name'] : undefined),
  },
  {
    cel: "self.metadata.name.matches('^[a-z]')",
    message: 'the name must begin with a letter: it is the name of a Service too',
    broken: (self) => (/^[a-z]/.test(self.metadata.name) ? undefined : ['metadata', 'name']),
  },
  {
    cel: "self.metadata.name != 'api'",
    message: 'the name must not be "api": that host name belongs to the API',
    broken: (self) => (self.metadata.name === 'api' ? ['metadata', 'name'] : undefined),
  },
];

interface Stored {
  spec: BinaryCacheSpec;
  status?: BinaryCacheStatus;
}

const removalRule: Rule<Stored> = {
  cel: `oldSelf.spec.storages.all(o, self.spec.storages.exists(s, s.name == o.name) || o.mode == 'Abandoned'
    || (has(oldSelf.status) && has(oldSelf.status.storages)
      && oldSelf.status.storages.exists(t, t.name == o.name && t.phase == 'Drained')))`,
  message:
    'a storage can be removed once status.storages says Drained (set its mode to Drain first), or after mode Abandoned',
  brokenSince: ({ spec }, old) => {
    const drained = old.status?.storages?.filter(({ phase }) => phase === 'Drained').map(({ name }) => name);
    const mayGo = ({ name, mode }: StorageSpec): boolean => mode === 'Abandoned' || drained?.includes(name) === true;
    const stays = ({ name }: StorageSpec): boolean => spec.storages.some((storage) => storage.name === name);
    return old.spec.storages.every((storage) => stays(storage) || mayGo(storage)) ? undefined : ['spec', 'storages'];
  },
};

const sharedByAll = (storage: StorageSpec): boolean =>
  storage.s3 !== undefined || storage.local?.accessMode === 'ReadWriteMany';
const severalPods = (spec: BinaryCacheSpec): boolean => spec.autoscaling !== undefined || spec.replicas > 1;
const scaleField = (spec: BinaryCacheSpec): Path => [spec.autoscaling ? 'autoscaling' : 'replicas'];
const indexWhere = <T>(
  items: readonly T[] | undefined,
  wrong: (item: T) => boolean,
  field: string,
): Path | undefined => {
  const index = items?.findIndex(wrong) ?? -1;
  return index < 0 ? undefined : [field, index];
};

const specRules: readonly Rule<BinaryCacheSpec>[] = [
  {
    cel: '!has(self.quota) || !has(self.retention) || !has(self.retention.maxSize) || quantity(string(self.quota.maxSize)).compareTo(quantity(string(self.retention.maxSize))) >= 0',
    message: 'quota.maxSize is below retention.maxSize: pushes would be refused before anything is removed',
    broken: ({ quota, retention }) =>
      quota !== undefined &&
      retention?.maxSize !== undefined &&
      parseQuantity(quota.maxSize) < parseQuantity(retention.maxSize)
        ? ['quota', 'maxSize']
        : undefined,
  },
  {
    cel: '!(has(self.database.sqlite) && has(self.database.postgres))',
    message: 'sqlite and postgres exclude each other: keep one',
    broken: (spec) => (spec.database.sqlite && spec.database.postgres ? ['database', 'postgres'] : undefined),
  },
  {
    cel: "self.strategy != 'Split' || self.storages.all(s, has(s.weight))",
    message: 'strategy Split needs a weight on every storage',
    broken: (spec) =>
      spec.strategy === 'Split' ? indexWhere(spec.storages, (s) => s.weight === undefined, 'storages') : undefined,
  },
  {
    cel: "self.strategy != 'Split' || !self.storages.all(s, has(s.weight)) || self.storages.map(s, s.weight).sum() == 100",
    message: 'with strategy Split the weights of all storages must make 100 together',
    broken: (spec) => {
      if (spec.strategy !== 'Split' || spec.storages.some((s) => s.weight === undefined)) return undefined;
      return spec.storages.reduce((sum, s) => sum + (s.weight ?? 0), 0) === 100 ? undefined : ['storages'];
    },
  },
  {
    cel: '!(has(self.ingress) && has(self.httpRoute))',
    message: 'ingress and httpRoute exclude each other: keep one',
    broken: (spec) => (spec.ingress && spec.httpRoute ? ['httpRoute'] : undefined),
  },
  {
    cel: '!(has(self.autoscaling) || self.replicas > 1) || has(self.database.postgres)',
    message: 'more than one pod needs database.postgres',
    broken: (spec) => (severalPods(spec) && !spec.database.postgres ? scaleField(spec) : undefined),
  },
  {
    cel: "!(has(self.autoscaling) || self.replicas > 1) || self.storages.all(s, has(s.s3) || (has(s.local) && s.local.accessMode == 'ReadWriteMany'))",
    message: 'more than one pod needs storages that all pods share: s3, or local with accessMode ReadWriteMany',
    broken: (spec) => (severalPods(spec) && !spec.storages.every(sharedByAll) ? scaleField(spec) : undefined),
  },
  {
    cel: '!has(self.database.postgres) || has(self.rootSecretRef)',
    message: 'database.postgres needs rootSecretRef: with a shared database no server generates a key',
    broken: (spec) => (spec.database.postgres && !spec.rootSecretRef ? ['rootSecretRef'] : undefined),
  },
  {
    cel: "!has(self.database.postgres) || self.signing.mode == 'SelfSigned' || has(self.signing.secretRefs)",
    message: 'database.postgres needs signing.secretRefs, unless signing.mode is SelfSigned',
    broken: (spec) =>
      spec.database.postgres && spec.signing.mode !== 'SelfSigned' && !spec.signing.secretRefs
        ? ['signing', 'secretRefs']
        : undefined,
  },
  {
    cel: '!has(self.database.postgres) || !has(self.tokens) || self.tokens.all(t, has(t.sha256) || has(t.secretRef))',
    message: 'database.postgres needs sha256 or secretRef on every token',
    broken: (spec) =>
      spec.database.postgres ? indexWhere(spec.tokens, (t) => !t.sha256 && !t.secretRef, 'tokens') : undefined,
  },
];

const tlsRules: readonly Rule<{ mode: string; caSecretRef?: unknown }>[] = [
  {
    cel: "self.mode != 'VerifyCa' || has(self.caSecretRef)",
    message: 'mode VerifyCa needs caSecretRef: with the CAs that the world trusts, anybody could answer',
    broken: (tls) => (tls.mode === 'VerifyCa' && !tls.caSecretRef ? ['caSecretRef'] : undefined),
  },
  {
    cel: "self.mode in ['VerifyCa', 'VerifyFull'] || !has(self.caSecretRef)",
    message: 'caSecretRef belongs to the modes VerifyCa and VerifyFull: the others verify nothing',
    broken: (tls) => (!tls.mode.startsWith('Verify') && tls.caSecretRef ? ['caSecretRef'] : undefined),
  },
];

const storageRules: readonly Rule<StorageSpec>[] = [
  {
    cel: 'has(self.local) != has(self.s3)',
    message: 'needs exactly one of local and s3',
    broken: (storage) => (Boolean(storage.local) === Boolean(storage.s3) ? [] : undefined),
  },
  {
    cel: "self.name != 'db'",
    message: 'the name must not be "db": that volume belongs to the database',
    broken: (storage) => (storage.name === 'db' ? ['name'] : undefined),
  },
  {
    cel: 'has(self.local) == has(oldSelf.local)',
    message: 'the kind of a storage cannot change: add one under another name and drain this one',
    brokenSince: (storage, old) => (Boolean(storage.local) === Boolean(old.local) ? undefined : []),
  },
];

const onlyGrows: Rule<{ size: string | number }> = {
  cel: 'quantity(string(self.size)).compareTo(quantity(string(oldSelf.size))) >= 0',
  message: 'size can only grow',
  brokenSince: ({ size }, old) => (parseQuantity(size) < parseQuantity(old.size) ? ['size'] : undefined),
};
const fixed = (field: string): Rule<Record<string, unknown>> => ({
  cel: `has(self.${field}) == has(oldSelf.${field}) && (!has(self.${field}) || self.${field} == oldSelf.${field})`,
  message: `${field} cannot change`,
  brokenSince: (self, old) => (JSON.stringify(self[field]) === JSON.stringify(old[field]) ? undefined : [field]),
});

const oneSource: Rule<{ sha256?: string; secretRef?: unknown }> = {
  cel: '!(has(self.sha256) && has(self.secretRef))',
  message: 'sha256 and secretRef exclude each other: keep one',
  broken: (token) => (token.sha256 && token.secretRef ? ['secretRef'] : undefined),
};

export const binaryCacheRules: readonly RuleSet[] = [
  rulesAt<Named & Stored>('', [...nameRules, removalRule]),
  rulesAt('spec', specRules),
  rulesAt('spec.storages[]', storageRules),
  rulesAt('spec.storages[].local', [onlyGrows, fixed('storageClassName')]),
  rulesAt('spec.storages[].s3', [fixed('bucket'), fixed('endpoint'), fixed('prefix')]),
  rulesAt('spec.database.sqlite', [onlyGrows, fixed('storageClassName')]),
  rulesAt('spec.database.postgres.tls', tlsRules),
  rulesAt<SigningSpec>('spec.signing', [
    {
      cel: "self.mode != 'SelfSigned' || !has(self.secretRefs)",
      message: 'with mode SelfSigned the server signs nothing: remove secretRefs, or use mode Managed',
      broken: (signing) => (signing.mode === 'SelfSigned' && signing.secretRefs ? ['secretRefs'] : undefined),
    },
    {
      cel: "self.mode != 'Managed' || !has(self.publicKeys)",
      message: 'publicKeys belong to mode SelfSigned: with mode Managed they follow from the signing keys',
      broken: (signing) => (signing.mode === 'Managed' && signing.publicKeys ? ['publicKeys'] : undefined),
    },
  ]),
  rulesAt<TokenSpec>('spec.tokens[]', [oneSource]),
  rulesAt<{ days?: number; revisions?: number }>('spec.pins[].keep', [
    {
      cel: 'has(self.days) != has(self.revisions)',
      message: 'needs exactly one of days and revisions; without keep all revisions stay',
      broken: ({ days, revisions }) => ((days === undefined) === (revisions === undefined) ? [] : undefined),
    },
  ]),
  rulesAt<{ days?: number; maxSize?: string | number; highPercent: number; lowPercent: number }>('spec.retention', [
    {
      cel: 'has(self.days) || has(self.maxSize)',
      message: 'needs days or maxSize; without retention everything is kept',
      broken: (retention) => (retention.days === undefined && retention.maxSize === undefined ? [] : undefined),
    },
    {
      cel: 'self.lowPercent <= self.highPercent',
      message: 'lowPercent is above highPercent: paths go from the high mark down to the low one',
      broken: ({ lowPercent, highPercent }) => (lowPercent > highPercent ? ['lowPercent'] : undefined),
    },
  ]),
  rulesAt<UpstreamSpec>('spec.upstreams[]', [
    {
      cel: "self.mode != 'Proxy' || has(self.publicKeys)",
      message: 'mode Proxy needs publicKeys: nothing is taken over unverified',
      broken: (upstream) => (upstream.mode === 'Proxy' && !upstream.publicKeys ? ['publicKeys'] : undefined),
    },
  ]),
  rulesAt<{ minReplicas: number; maxReplicas: number }>('spec.autoscaling', [
    {
      cel: 'self.minReplicas <= self.maxReplicas',
      message: 'minReplicas must not exceed maxReplicas',
      broken: (scaling) => (scaling.minReplicas > scaling.maxReplicas ? ['minReplicas'] : undefined),
    },
  ]),
];

export const workspaceRules: readonly RuleSet[] = [
  rulesAt('spec', [fixed('cacheRef')]),
  rulesAt('spec.tokens[]', [oneSource]),
];

export const agentRules: readonly RuleSet[] = [
  rulesAt('spec', [fixed('workspaceRef'), fixed('agentName')]),
  rulesAt('spec.token', [oneSource]),
];

/**
 * Every rule that an object breaks, except at places where something is known to be wrong already. With the object as it
 * was before, the rules of changes too; as for an API server, only at places that were there already.
 */
export function brokenRules(
  sets: readonly RuleSet[],
  object: unknown,
  { known = [], old }: { known?: readonly Issue[]; old?: unknown } = {},
): Issue[] {
  return sets.flatMap(({ at, rules }) =>
    select(object, at)
      .filter(({ path }) => path.length === 0 || !known.some((issue) => isWithin(issue.path, path)))
      .flatMap(({ path, value }) => {
        const earlier = old === undefined ? undefined : earlierValue(old, object, path);
        return rules.flatMap((rule) => {
          // The schema has established that the values at this place are what the rule takes.
          const since = earlier === undefined ? undefined : rule.brokenSince?.(value as never, earlier as never);
          const broken = rule.broken?.(value as never) ?? since;
          return broken ? [{ path: [...path, ...broken], message: rule.message }] : [];
        });
      }),
  );
}
