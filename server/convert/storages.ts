import { storageNames } from './names.ts';
import { type Fields, numberOf, type Output, type Reader, textOf } from './reader.ts';

const strategies: Readonly<Record<string, string>> = {
  'round-robin': 'RoundRobin',
  'in-order': 'InOrder',
  split: 'Split',
  'least-used': 'LeastUsed',
};

const fields = ['name', 'type', 'root', 'split', 's3_bucket', 's3_region', 's3_access_key', 's3_secret_key'];
const bucketName = /^[a-z0-9][-.a-z0-9]{1,61}[a-z0-9]$/;
const MAX_STORAGES = 16;

interface Converted {
  storage: Fields;
  split: unknown;
  secrets: Output[];
}

/** The strategy and the storages of one cache of the seed, and the Secrets that they need. */
export function convertStorages(
  cache: Fields,
  where: string,
  cacheName: string,
  reader: Reader,
): { spec: Fields; secrets: Output[] } {
  const names = storageNames();
  const all = reader.list(cache.storages, `${where}.storages`).flatMap((value, index) => {
    const at = `${where}.storages[${index}]`;
    const storage = reader.fields(value, at);
    if (!storage) return [];
    reader.unknown(storage, fields, at);
    const type = textOf(storage.type)?.toLowerCase() ?? (Object.hasOwn(storage, 's3_bucket') ? 's3' : 'local');
    const convert = Object.hasOwn(kinds, type) ? kinds[type] : undefined;
    if (!convert) {
      reader.warn(at, 'left out: its type is neither local nor s3');
      return [];
    }
    const name = reader.name(storage.name, names, at, type === 's3' ? 'bucket' : 'disk');
    const converted = convert(storage, at, { cache: cacheName, name }, reader);
    return converted ? [{ split: storage.split, ...converted }] : [];
  });
  if (all.length === 0) {
    reader.warn(
      `${where}.storages`,
      'has no storage that could be converted; a local one named "disk" is written instead',
    );
    return { spec: { storages: [{ name: 'disk', local: {} }] }, secrets: [] };
  }
  const kept = all.slice(0, MAX_STORAGES);
  if (kept.length < all.length)
    reader.warn(`${where}.storages`, `has more than ${MAX_STORAGES} storages; the rest is left out`);
  const strategy = readStrategy(cache, kept.length, where, reader);
  const weights = readWeights(strategy, kept, where, reader);
  const storages = kept.map(({ storage }, index) => (weights ? { ...storage, weight: weights[index] } : storage));
  return { spec: strategy ? { strategy, storages } : { storages }, secrets: kept.flatMap(({ secrets }) => secrets) };
}

interface Owner {
  cache: string;
  name: string;
}

type Convert = (storage: Fields, at: string, owner: Owner, reader: Reader) => Omit<Converted, 'split'> | undefined;

const kinds: Readonly<Record<string, Convert>> = { local: convertLocal, s3: convertS3 };

/**
 * Inside the old root each storage gets a folder of its own: the seed cleans up what it finds in there and may still
 * be running, and several of its caches may share one root.
 */
function folderOf({ cache, name }: Owner): string {
  return `narwhal/${cache}/${name}`;
}

function convertLocal(storage: Fields, at: string, owner: Owner, reader: Reader): ReturnType<Convert> {
  const root = textOf(storage.root);
  if (root?.startsWith('/') && !root.includes('\0') && root.length < 900) {
    const path = `${root.replace(/\/+$/, '')}/${folderOf(owner)}`;
    return { storage: { name: owner.name, local: { path } }, secrets: [] };
  }
  reader.warn(`${at}.root`, `${root ? 'is no absolute path' : 'is missing'}: the storage will lie in the data folder`);
  return { storage: { name: owner.name, local: {} }, secrets: [] };
}

function convertS3(storage: Fields, at: string, owner: Owner, reader: Reader): ReturnType<Convert> {
  const bucket = textOf(storage.s3_bucket);
  if (!bucket || !bucketName.test(bucket)) {
    reader.warn(at, 'left out: s3_bucket is missing or cannot be the name of a bucket');
    return undefined;
  }
  const region = textOf(storage.s3_region)?.slice(0, 64);
  if (!region) reader.warn(`${at}.s3_region`, 'is missing: us-east-1 is assumed');
  const root = (textOf(storage.root) ?? '').replaceAll('\0', '').replace(/^\/+/, '').slice(0, 400).replace(/\/+$/, '');
  const prefix = root === '' ? folderOf(owner) : `${root}/${folderOf(owner)}`;
  const secret = s3Secret(storage, at, `${owner.cache}-${owner.name}-s3`, reader);
  const credentials = secret && { credentialsSecretRef: { name: secret.name } };
  return {
    storage: { name: owner.name, s3: { bucket, ...(region && { region }), prefix, ...credentials } },
    secrets: secret ? [secret.output] : [],
  };
}

function s3Secret(
  storage: Fields,
  at: string,
  name: string,
  reader: Reader,
): { name: string; output: Output } | undefined {
  const accessKeyId = textOf(storage.s3_access_key);
  const secretAccessKey = textOf(storage.s3_secret_key);
  if (!accessKeyId || !secretAccessKey) {
    reader.warn(at, 's3_access_key or s3_secret_key is missing: the credentials of the machine will be used');
    return undefined;
  }
  const content = {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name },
    stringData: { accessKeyId, secretAccessKey },
  };
  return { name, output: { content, comment: ['Keys in plain text: keep this document out of version control.'] } };
}

/** One storage needs no strategy; with several and nothing said the seed takes turns. */
function readStrategy(cache: Fields, count: number, where: string, reader: Reader): string | undefined {
  if (count < 2) return undefined;
  const written = (textOf(cache['storage-strategy']) ?? 'round-robin').toLowerCase().replaceAll('_', '-');
  const strategy = Object.hasOwn(strategies, written) ? strategies[written] : undefined;
  if (strategy) return strategy;
  reader.warn(
    `${where}.storage-strategy`,
    `is none of ${Object.keys(strategies).join(', ')}: InOrder is written instead`,
  );
  return 'InOrder';
}

function readWeights(
  strategy: string | undefined,
  storages: readonly Converted[],
  where: string,
  reader: Reader,
): number[] | undefined {
  if (strategy !== 'Split') {
    if (storages.every(({ split }) => split === undefined)) return undefined;
    reader.warn(where, 'split is left out: it counts with several storages and the strategy split only');
    return undefined;
  }
  const shares = storages.map(({ split }) => numberOf(split));
  const weights = toHundred(shares);
  if (weights.some((weight, index) => weight !== shares[index])) {
    reader.warn(where, `the split percentages do not make 100 together; the weights written are ${weights.join(', ')}`);
  }
  return weights;
}

/** Weights that make 100: entries without a share divide what is left, then all are scaled by the largest remainder. */
function toHundred(shares: readonly (number | undefined)[]): number[] {
  const given = shares.map((share) => (share !== undefined && share >= 0 ? Math.min(share, 1e6) : undefined));
  const sum = given.reduce<number>((total, share) => total + (share ?? 0), 0);
  const open = given.filter((share) => share === undefined).length;
  const filled = given.map((share) => share ?? Math.max(0, 100 - sum) / open);
  const total = filled.reduce((all, share) => all + share, 0);
  const exact = filled.map((share) => (total > 0 ? (share * 100) / total : 100 / filled.length));
  const weights = exact.map(Math.floor);
  const byRemainder = exact
    .map((share, index) => ({ index, rest: share - Math.floor(share) }))
    .sort((a, b) => b.rest - a.rest);
  const left = 100 - weights.reduce((all, weight) => all + weight, 0);
  for (const { index } of byRemainder.slice(0, left)) weights[index] = (weights[index] ?? 0) + 1;
  return weights;
}
