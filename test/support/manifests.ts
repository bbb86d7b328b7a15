import {
  apiVersion,
  formatManifestError,
  formatPath,
  type Kind,
  kinds,
  type Loaded,
  type LoadOptions,
  loadManifests,
} from '../../crds/index.ts';
import { brokenRules } from '../../crds/rules.ts';

export type Value = { [field: string]: unknown };

export const disk: Value = { name: 'disk', local: {} };

export interface Manifest {
  readonly apiVersion: string;
  readonly kind: Kind['kind'];
  readonly metadata: { readonly name: string; readonly [field: string]: unknown };
  readonly spec: Value;
  readonly status?: Value;
}

/** A manifest; a BinaryCache has the storage `disk` unless the spec says otherwise. */
export function manifestOf(kind: Kind['kind'], spec: Value, metadata: Value = {}): Manifest {
  return {
    apiVersion,
    kind,
    metadata: { name: 'main', ...metadata },
    spec: { ...(kind === 'BinaryCache' && { storages: [disk] }), ...spec },
  };
}

/** A BinaryCache manifest as text; JSON is YAML. */
export function cacheText(spec: Value = {}, metadata: Value = {}): string {
  return JSON.stringify(manifestOf('BinaryCache', spec, metadata));
}

export function secretText(name: string, stringData: Value, more: Value = {}): string {
  return JSON.stringify({ apiVersion: 'v1', kind: 'Secret', metadata: { name }, stringData, ...more });
}

/** Loads texts as the documents of one file `m.yaml`. */
export function load(texts: string | string[], options?: LoadOptions): Loaded {
  const text = typeof texts === 'string' ? texts : texts.join('\n---\n');
  return loadManifests([{ file: 'm.yaml', text }], options);
}

/** The errors of a spec as lines, without file and line number. */
export function errorsOf(spec: Value, metadata?: Value): string[] {
  return load(cacheText(spec, metadata)).errors.map(({ path, message }) => `${path}: ${message}`);
}

/** The errors of texts as a person sees them. */
export function linesOf(texts: string | string[], options?: LoadOptions): string[] {
  return load(texts, options).errors.map(formatManifestError);
}

/** What a process finds wrong with a manifest, or with what it has become. */
export function judge({ now, before }: { now: Manifest; before?: Manifest }): { path: string; message: string }[] {
  const { errors, documents } = load(JSON.stringify(now));
  const found = errors.map(({ path, message }) => ({ path, message }));
  if (before === undefined || found.length > 0) return found;
  const [then] = allOf(load(JSON.stringify({ ...before })).documents);
  const rules = kinds.find(({ kind }) => kind === now.kind)?.rules ?? [];
  const changes = brokenRules(rules, allOf(documents)[0], { old: { ...then, status: before.status } });
  return changes.map(({ path, message }) => ({ path: formatPath(path), message }));
}

function allOf({ binaryCaches, workspaces, agents }: Loaded['documents']): object[] {
  return [...binaryCaches, ...workspaces, ...agents];
}
