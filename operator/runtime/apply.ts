/** Whether an object needs to be applied or removed at all, so that what is well costs no request. Pure. */
import { createHash } from 'node:crypto';
import { type Desired, isOwnedBy, type Obj } from './objects.ts';
import { sameQuantity } from './quantity.ts';

/**
 * `desired` with an annotation of its own hash. Comparing cannot tell a field that we no longer ask for from one that
 * somebody else has set; the hash of what we asked for last can.
 */
export function withHash(desired: Desired, annotation: string): Desired {
  const { [annotation]: _, ...annotations } = desired.metadata.annotations ?? {};
  const metadata = { ...desired.metadata, annotations };
  const hash = createHash('sha256')
    .update(canonical({ ...desired, metadata }))
    .digest('hex')
    .slice(0, 32);
  return { ...desired, metadata: { ...metadata, annotations: { ...annotations, [annotation]: hash } } };
}

/**
 * Whether `live` has all that `desired` asks for. The API server may have added fields, and have written quantities
 * another way; others may have added items to lists that are merged.
 */
export function applies(live: Obj | undefined, desired: Desired): boolean {
  return live !== undefined && holds(live, desired, []);
}

/** The lists that are merged by a key when we apply: what others added to them stays. All other lists are ours whole. */
const MERGED_BY: Readonly<Record<string, string>> = {
  containers: 'name',
  initContainers: 'name',
  ephemeralContainers: 'name',
  env: 'name',
  volumes: 'name',
  imagePullSecrets: 'name',
  volumeMounts: 'mountPath',
  ownerReferences: 'uid',
};

/** The fields, or fields of what is called so, that the API server writes its own way: `1024Mi` comes back as `1Gi`. */
const QUANTITIES: ReadonlySet<string> = new Set([
  'requests',
  'limits',
  'capacity',
  'sizeLimit',
  'averageValue',
  'divisor',
]);

/** Maps, which are dropped when they are empty. */
const MAPS: ReadonlySet<string> = new Set([
  'labels',
  'annotations',
  'matchLabels',
  'nodeSelector',
  'requests',
  'limits',
  'data',
  'binaryData',
]);

function holds(live: unknown, desired: unknown, path: readonly string[]): boolean {
  if (live === undefined || live === null) return isLeftOut(desired, path);
  if (Array.isArray(desired)) return Array.isArray(live) && holdsAll(live, desired, path);
  if (isRecord(desired)) {
    return (
      isRecord(live) && Object.entries(desired).every(([name, value]) => holds(live[name], value, [...path, name]))
    );
  }
  if (live === desired || desired === undefined) return true;
  return path.slice(-2).some((name) => QUANTITIES.has(name)) && sameQuantity(live, desired);
}

function holdsAll(live: readonly unknown[], desired: readonly unknown[], path: readonly string[]): boolean {
  const name = path.at(-1) ?? '';
  if (name === 'finalizers') return desired.every((finalizer) => live.includes(finalizer));
  const key = MERGED_BY[name];
  if (key === undefined)
    return live.length === desired.length && desired.every((item, index) => holds(live[index], item, path));
  const byKey = new Map(live.filter(isRecord).map((item) => [item[key], item]));
  return desired.every((item) => isRecord(item) && holds(byKey.get(item[key]), item, path));
}

/**
 * Whether the API server drops such a value. Not `false`, `0` or `{}`: some fields keep them and mean something else
 * without them, so that a builder that writes a default which is dropped costs a request each time.
 */
function isLeftOut(value: unknown, path: readonly string[]): boolean {
  if (value === undefined || value === null) return true;
  // An empty variable is written without a value; elsewhere an empty text is a choice.
  if (value === '') return path.at(-1) === 'value' && path.at(-2) === 'env';
  if (Array.isArray(value)) return value.length === 0;
  return isRecord(value) && Object.keys(value).length === 0 && MAPS.has(path.at(-1) ?? '');
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The same text for the same content, whatever the order of fields. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) =>
    isRecord(inner) ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1))) : inner,
  );
}

export interface Ownership {
  /** The owner that they must refer to; absent for what outlives its owner, which labels alone then say. */
  readonly uid?: string;
  /** The labels that they must all have. */
  readonly labels: Readonly<Record<string, string>>;
}

/** Those of `live` that are ours by `ownership`, that nobody wants any more, and that are of no kind in `except`. */
export function unwanted<T extends Obj>(
  live: Iterable<T>,
  wanted: Iterable<Desired>,
  ownership: Ownership,
  except: readonly { readonly kind: string }[] = [],
): T[] {
  const keep = new Set([...wanted].map(identity));
  const spared = new Set(except.map(({ kind }) => kind));
  return [...live].filter(
    (object) => isOurs(object, ownership) && !spared.has(object.kind) && !keep.has(identity(object)),
  );
}

function isOurs(object: Obj, { uid, labels }: Ownership): boolean {
  if (uid !== undefined && !isOwnedBy(object, uid)) return false;
  return Object.entries(labels).every(([name, value]) => object.metadata.labels?.[name] === value);
}

/** Without the version: an object is the same in all versions of its kind. */
function identity({ apiVersion, kind, metadata }: Obj | Desired): string {
  const group = apiVersion.includes('/') ? apiVersion.split('/')[0] : '';
  return [group, kind, metadata.namespace, metadata.name].join('/');
}
