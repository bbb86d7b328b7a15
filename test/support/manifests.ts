import { formatManifestError, type Loaded, type LoadOptions, loadManifests } from '../../../crds/index.ts';

export type Value = { [field: string]: unknown };

export const disk: Value = { name: 'disk', local: {} };

/** A BinaryCache manifest as text; JSON is YAML. */
export function cacheText(spec: Value = {}, metadata: Value = {}): string {
  return JSON.stringify({
    apiVersion: 'narwhal.dev/v1alpha1',
    kind: 'BinaryCache',
    metadata: { name: 'main', ...metadata },
    spec: { storages: [disk], ...spec },
  });
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
