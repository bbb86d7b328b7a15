import type { Metadata } from './metadata.ts';
import { isMapping, type Path } from './path.ts';
import { ValueError } from './secret-value.ts';
import { type Issue, unknownField } from './validate.ts';

/** A `Secret` document. Its values can be asked for by key and are never shown when the object is printed. */
export class Secret {
  readonly apiVersion = 'v1';
  readonly kind = 'Secret';
  readonly metadata: Metadata;
  readonly #values: ReadonlyMap<string, Uint8Array>;

  constructor(metadata: Metadata, values: ReadonlyMap<string, Uint8Array>) {
    this.metadata = metadata;
    this.#values = values;
  }

  /** The names of the values. */
  get keys(): string[] {
    return [...this.#values.keys()];
  }

  /** The bytes of a value, or nothing where the Secret has no such key. */
  get(key: string): Uint8Array | undefined {
    return this.#values.get(key);
  }
}

/** What a field such as `rootSecretRef` points at. */
export interface SecretRef {
  name: string;
  key: string;
}

export type SecretErrorCode = 'SecretMissing' | 'SecretKeyMissing' | 'SecretInvalid';

/** A Secret, or a key in it, that a manifest names and nobody gave, or a value in it that cannot be right. */
export class SecretError extends Error {
  readonly code: SecretErrorCode;

  constructor(code: SecretErrorCode, message: string) {
    super(message);
    this.name = 'SecretError';
    this.code = code;
  }
}

const fields = ['apiVersion', 'kind', 'metadata', 'type', 'immutable', 'data', 'stringData'];
const base64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/** Reads `data` and `stringData` of a Secret document; as in Kubernetes, `stringData` wins. */
export function readSecret(value: Record<string, unknown>, metadata: Metadata): { secret: Secret; issues: Issue[] } {
  const issues: Issue[] = [];
  const values = new Map<string, Uint8Array>();
  for (const name of Object.keys(value)) {
    if (!fields.includes(name)) issues.push({ path: [name], message: unknownField(name, fields) });
  }
  for (const [key, text, path] of entries(value, 'data', issues)) {
    const digits = text.replace(/\s/g, '');
    if (base64.test(digits)) values.set(key, Buffer.from(digits, 'base64'));
    else issues.push({ path, message: 'must be base64; a plain text belongs into stringData' });
  }
  for (const [key, text] of entries(value, 'stringData', issues)) values.set(key, Buffer.from(text, 'utf8'));
  return { secret: new Secret(metadata, values), issues };
}

function entries(value: Record<string, unknown>, field: string, issues: Issue[]): [string, string, Path][] {
  const map = value[field] ?? {};
  if (!isMapping(map)) {
    issues.push({ path: [field], message: 'must be a mapping' });
    return [];
  }
  const texts: [string, string, Path][] = [];
  for (const [key, text] of Object.entries(map)) {
    const path = [field, key];
    if (!/^[-._a-zA-Z0-9]{1,253}$/.test(key))
      issues.push({ path, message: 'must be named by letters, digits, dashes, dots and underscores' });
    else if (typeof text !== 'string') issues.push({ path, message: 'must be text: put quotes around it' });
    else texts.push([key, text, path]);
  }
  return texts;
}

/** Where Secrets are looked for: among the manifests, then among those that lie in files. */
export interface SecretSources {
  readonly secrets: readonly Secret[];
  /** By name, whatever the namespace; undefined where nobody keeps Secrets in files. */
  readonly mounted: ReadonlyMap<string, Secret> | undefined;
}

/** The bytes that a reference of an object points at. Throws a `SecretError` that names what is missing. */
export function resolveSecret(documents: SecretSources, ref: SecretRef, namespace?: string): Uint8Array {
  const secret = resolveWholeSecret(documents, ref.name, namespace);
  const bytes = secret.get(ref.key);
  if (bytes) return bytes;
  const known = secret.keys.length > 0 ? `it has ${secret.keys.join(', ')}` : 'it is empty';
  throw new SecretError(
    'SecretKeyMissing',
    `Secret ${JSON.stringify(ref.name)} has no key ${JSON.stringify(ref.key)}; ${known}`,
  );
}

/**
 * The value that a reference of an object points at, read for what it is used for. Throws a `SecretError` that names
 * Secret and key where it is missing or cannot be right, and repeats nothing of it.
 */
export function readSecretValue<T>(
  documents: SecretSources,
  ref: SecretRef,
  namespace: string | undefined,
  read: (bytes: Uint8Array) => T,
): T {
  return readValueOf(ref, resolveSecret(documents, ref, namespace), read);
}

/** The same for bytes at hand. */
export function readValueOf<T>({ name, key }: SecretRef, bytes: Uint8Array, read: (bytes: Uint8Array) => T): T {
  try {
    return read(bytes);
  } catch (error) {
    if (!(error instanceof ValueError)) throw error;
    throw new SecretError(
      'SecretInvalid',
      `Secret ${JSON.stringify(name)}: key ${JSON.stringify(key)} ${error.message}; correct the Secret`,
    );
  }
}

/** The Secret that an object names, for references to several of its keys. Throws a `SecretError` where there is none. */
export function resolveWholeSecret({ secrets, mounted }: SecretSources, name: string, namespace?: string): Secret {
  const secret = findSecret(secrets, name, namespace) ?? mounted?.get(name);
  if (secret) return secret;
  const where = mounted ? 'among the manifests or the mounted Secrets' : 'among the manifests';
  throw new SecretError('SecretMissing', `there is no Secret ${JSON.stringify(name)} ${where}`);
}

/**
 * Keys of a Secret that stand for a connection URL, as CloudNativePG and others write them; of each entry one must be
 * there.
 */
const neededKeys: readonly (readonly string[])[] = [['host'], ['user', 'username'], ['dbname', 'database']];

/** All keys of a connection, those included that may be missing. */
export const connectionKeys: readonly string[] = [...neededKeys.flat(), 'port', 'password'];

/** Whether a Secret says how a database is reached: by a URL under `key`, or by the keys that stand for one. */
export function hasConnection(secret: Secret, key: string): boolean {
  return secret.keys.includes(key) || neededKeys.every((names) => names.some((name) => secret.keys.includes(name)));
}

/** The Secret of a name in a namespace; no namespace is `default`, as for kubectl. */
function findSecret(secrets: readonly Secret[], name: string, namespace = 'default'): Secret | undefined {
  return secrets.find(({ metadata }) => metadata.name === name && (metadata.namespace ?? 'default') === namespace);
}
