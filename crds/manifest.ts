import type { AgentSpec } from './agent.ts';
import type { BinaryCacheSpec } from './binary-cache.ts';
import { apiVersion } from './fields.ts';
import { agentKind, binaryCacheKind, type Kind, workspaceKind } from './kinds.ts';
import { type Metadata, metadata } from './metadata.ts';
import { nearest } from './nearest.ts';
import type { ManifestError, Origin } from './origin.ts';
import { formatPath, isMapping, type Path, select } from './path.ts';
import { brokenRules } from './rules.ts';
import type { Of } from './schema.ts';
import {
  hasConnection,
  readSecret,
  resolveSecret,
  resolveWholeSecret,
  type Secret,
  SecretError,
  type SecretRef,
} from './secret.ts';
import { checkSupport } from './support.ts';
import { type Issue, unknownField, validate } from './validate.ts';
import type { WorkspaceSpec } from './workspace.ts';
import { parseYaml, type YamlDocument } from './yaml.ts';

interface Manifest<K extends string, S> {
  apiVersion: typeof apiVersion;
  kind: K;
  metadata: Metadata;
  spec: S;
}

export type BinaryCache = Manifest<'BinaryCache', BinaryCacheSpec>;
export type Workspace = Manifest<'Workspace', WorkspaceSpec>;
export type Agent = Manifest<'Agent', AgentSpec>;

/** A file of manifests that the caller has read. */
export interface ManifestSource {
  file: string;
  text: string;
}

/** The valid documents of all files, with their defaults filled in. */
export interface Documents {
  binaryCaches: BinaryCache[];
  workspaces: Workspace[];
  agents: Agent[];
  secrets: Secret[];
  /** Secrets that lie in files, by name; undefined where they are all among the manifests. */
  mounted: ReadonlyMap<string, Secret> | undefined;
  /** File and lines of each document, for errors that show later. */
  origins: ReadonlyMap<object, Origin>;
}

export interface LoadOptions {
  /** `server` also refuses what this version of the server cannot do, and Secrets that are missing. */
  target?: 'server';
  /** Secrets that lie in files, as Kubernetes mounts them: asked where the manifests have none of that name. */
  mounted?: ReadonlyMap<string, Secret> | undefined;
}

export interface Loaded {
  documents: Documents;
  /** With a single error here nothing may be applied. */
  errors: ManifestError[];
  notes: string[];
}

/** Reads manifests: every document checked, every mistake collected, defaults filled in. Reads no file by itself. */
export function loadManifests(sources: readonly ManifestSource[], options: LoadOptions = {}): Loaded {
  const read = sources.flatMap(({ file, text }) => parseYaml(text).map((yaml) => readDocument(file, yaml)));
  const errors = [...read.flatMap((result) => result.errors), ...repeatedNames(read)];
  const documents = { ...sortByKind(read), mounted: options.mounted };
  const notes: string[] = [];
  if (options.target === 'server') {
    const support = checkSupport(documents);
    errors.push(...support.errors, ...missingSecrets(documents), ...sharedNames(documents));
    notes.push(...support.notes, ...unwritable(documents));
  }
  const order = new Map(sources.map(({ file }, index) => [file, index]));
  errors.sort((a, b) => (order.get(a.file) ?? 0) - (order.get(b.file) ?? 0) || a.line - b.line);
  return { documents, errors, notes };
}

/** One error as a line: `cache.yaml:12: spec.storages[1].weight: must be between 0 and 100`. */
export function formatManifestError({ file, line, path, message }: ManifestError): string {
  return `${file}:${line}: ${path === '' ? '' : `${path}: `}${message}`;
}

type AnyDocument = BinaryCache | Workspace | Agent | Secret;

interface ReadResult {
  document?: AnyDocument;
  origin: Origin;
  errors: ManifestError[];
}

type Reader = (value: Record<string, unknown>) => { document?: AnyDocument; issues: Issue[] };

const readers: Readonly<Record<string, { apiVersion: string; read: Reader }>> = {
  BinaryCache: { apiVersion, read: (value) => readManifest(binaryCacheKind, value) },
  Workspace: { apiVersion, read: (value) => readManifest(workspaceKind, value) },
  Agent: { apiVersion, read: (value) => readManifest(agentKind, value) },
  Secret: { apiVersion: 'v1', read: readSecretDocument },
};

function readDocument(file: string, yaml: YamlDocument): ReadResult {
  const origin = { file, line: yaml.line, written: yaml.value, lineOf: yaml.lineOf };
  if (yaml.issues.length > 0) {
    return { origin, errors: yaml.issues.map(({ line, message }) => ({ file, line, path: '', message })) };
  }
  const { document, issues } = readValue(yaml.value);
  const errors = issues.map(({ path, message }) => errorAt(origin, path, message));
  return document ? { document, origin, errors } : { origin, errors };
}

function readValue(value: unknown): ReturnType<Reader> {
  if (!isMapping(value))
    return { issues: [{ path: [], message: 'a manifest is a mapping with apiVersion, kind, metadata and spec' }] };
  const { kind } = value;
  const reader = typeof kind === 'string' && Object.hasOwn(readers, kind) ? readers[kind] : undefined;
  if (!reader) return { issues: [{ path: ['kind'], message: wrongKind(kind) }] };
  if (value.apiVersion !== reader.apiVersion) {
    const message = `must be ${reader.apiVersion} for the kind ${String(kind)}`;
    return { issues: [{ path: ['apiVersion'], message }] };
  }
  return reader.read(value);
}

function wrongKind(kind: unknown): string {
  const known = Object.keys(readers);
  const near = typeof kind === 'string' ? nearest(kind, known) : undefined;
  return `must be one of ${known.join(', ')}${near ? ` (did you mean ${near}?)` : ''}`;
}

const topLevel = ['apiVersion', 'kind', 'metadata', 'spec', 'status'];

function readManifest<K extends Kind>(
  kind: K,
  value: Record<string, unknown>,
): { document?: Manifest<K['kind'], Of<K['spec']>>; issues: Issue[] } {
  const name = validate(metadata, value.metadata ?? {}, ['metadata']);
  const spec = validate<K['spec']>(kind.spec, value.spec ?? {}, ['spec']);
  const unknown = Object.keys(value).filter((field) => !topLevel.includes(field));
  const issues: Issue[] = [
    ...unknown.map((field) => ({ path: [field], message: unknownField(field, topLevel) })),
    ...name.issues,
    ...spec.issues,
  ];
  // A place with a mistake of its own is not judged further: the rules rely on what the schema promises.
  const sound = kind.rules.filter(({ at }) => at !== '' || name.ok);
  issues.push(...brokenRules(sound, { metadata: name.value, spec: spec.value }, { known: issues }));
  if (issues.length > 0 || !name.ok || !spec.ok) return { issues };
  return { document: { apiVersion, kind: kind.kind, metadata: name.value, spec: spec.value }, issues };
}

function readSecretDocument(value: Record<string, unknown>): ReturnType<Reader> {
  const name = validate(metadata, value.metadata ?? {}, ['metadata']);
  if (!name.ok) return { issues: name.issues };
  const { secret, issues } = readSecret(value, name.value);
  return issues.length > 0 ? { issues } : { document: secret, issues };
}

function errorAt(origin: Origin, path: Path, message: string): ManifestError {
  return { file: origin.file, line: origin.lineOf(path), path: formatPath(path), message };
}

function sortByKind(read: readonly ReadResult[]): Omit<Documents, 'mounted'> {
  const found = read.flatMap(({ document }) => document ?? []);
  return {
    binaryCaches: found.filter((document) => document.kind === 'BinaryCache'),
    workspaces: found.filter((document) => document.kind === 'Workspace'),
    agents: found.filter((document) => document.kind === 'Agent'),
    secrets: found.filter((document) => document.kind === 'Secret'),
    origins: new Map(read.flatMap(({ document, origin }) => (document ? [[document, origin] as const] : []))),
  };
}

/** Two documents of one kind, namespace and name. */
function repeatedNames(read: readonly ReadResult[]): ManifestError[] {
  const first = new Map<string, Origin>();
  return read.flatMap(({ document, origin }) => {
    if (!document) return [];
    const { name, namespace = 'default' } = document.metadata;
    const identity = JSON.stringify([document.kind, namespace, name]);
    const earlier = first.get(identity);
    if (!earlier) {
      first.set(identity, origin);
      return [];
    }
    const message = `there is another ${document.kind} of this name at ${earlier.file}:${earlier.line}`;
    return [errorAt(origin, ['metadata', 'name'], message)];
  });
}

/** A process knows no namespaces: its caches share one set of host names and folders. */
function sharedNames({ binaryCaches, origins }: Documents): ManifestError[] {
  const namespaces = new Map<string, string>();
  return binaryCaches.flatMap((cache) => {
    const { name, namespace = 'default' } = cache.metadata;
    const origin = origins.get(cache);
    const earlier = namespaces.get(name) ?? namespace;
    namespaces.set(name, earlier);
    if (earlier === namespace || !origin) return [];
    const message = `there is a BinaryCache of this name in the namespace ${earlier} too; one server cannot serve both`;
    return [errorAt(origin, ['metadata', 'name'], message)];
  });
}

const s3Keys = ['accessKeyId', 'secretAccessKey'];

type Resolve = (documents: Documents, ref: SecretRef, namespace: string | undefined) => void;

/** Fails where the Secret of a database has neither the key nor those that stand for it. */
const resolveConnection: Resolve = (documents, ref, namespace) => {
  const secret = resolveWholeSecret(documents, ref.name, namespace);
  if (!hasConnection(secret, ref.key)) resolveSecret(documents, ref, namespace);
};

interface SecretPlace {
  at: string;
  /** Where the reference has no key of its own. */
  keys?: readonly string[];
  resolve?: Resolve;
  /** Whether a cache goes on without it where Secrets are mounted: it serves what is signed and takes no pushes. */
  isOwnKey?: boolean;
}

/** Every place of a BinaryCache that names a Secret. */
const secretPlaces: readonly SecretPlace[] = [
  { at: 'spec.rootSecretRef', isOwnKey: true },
  { at: 'spec.signing.secretRefs[]', isOwnKey: true },
  { at: 'spec.tokens[].secretRef' },
  { at: 'spec.storages[].s3.credentialsSecretRef', keys: s3Keys },
  { at: 'spec.database.postgres.secretRef', resolve: resolveConnection },
  { at: 'spec.database.postgres.tls.caSecretRef' },
  { at: 'spec.peers.secretRef' },
];

function missingSecrets(documents: Documents): ManifestError[] {
  const places = secretPlaces.filter(({ isOwnKey }) => documents.mounted === undefined || isOwnKey !== true);
  return documents.binaryCaches.flatMap((cache) =>
    places.flatMap(({ at, keys, resolve = resolveSecret }) =>
      select(cache, at).flatMap(({ path, value }) => {
        const origin = documents.origins.get(cache);
        const message = secretProblem(() => {
          for (const ref of refsOf(value, keys)) resolve(documents, ref, cache.metadata.namespace);
        });
        return origin && message ? [errorAt(origin, path, message)] : [];
      }),
    ),
  );
}

function refsOf(value: unknown, keys: readonly string[] | undefined): SecretRef[] {
  if (!isMapping(value)) return [];
  return (keys ?? [value.key]).map((key) => ({ name: String(value.name), key: String(key) }));
}

function secretProblem(resolve: () => void): string | undefined {
  try {
    resolve();
    return undefined;
  } catch (error) {
    if (error instanceof SecretError) return error.message;
    throw error;
  }
}

/** A cache may be frozen on purpose, but a person should know why pushes are refused. */
function unwritable({ binaryCaches, origins }: Documents): string[] {
  return binaryCaches
    .filter(({ spec }) => spec.storages.every(({ mode }) => mode !== 'ReadWrite'))
    .map((cache) => {
      const origin = origins.get(cache);
      return `${origin?.file}:${origin?.line}: BinaryCache ${cache.metadata.name}: no storage has the mode ReadWrite, so pushes are refused`;
    });
}
