/** The ConfigMap with the manifest that the servers run: the cache's own, without what only a cluster acts on. */
import { createHash } from 'node:crypto';
import { parse, stringify } from 'yaml';
import { clusterOnly, processOnly, tokenDigits, without, withoutDefaults } from '../../../crds/index.ts';
import type { ConfigMap, Desired } from '../../runtime/index.ts';
import { CONFIG_FILE, namesOf, ownedMetadata, ROUTES_ANNOTATION, TOKEN_SECRETS_ANNOTATION } from '../names.ts';
import type { Cache } from '../types.ts';
import type { Inputs } from './inputs.ts';
import { tokenSecretsText } from './token-secrets.ts';

export function config(cache: Cache, inputs: Inputs): Desired[] {
  const metadata = ownedMetadata(cache, namesOf(cache).config);
  const prefixes = [...new Set([...hashesOf(cache, inputs).values()].map((hash) => hash.slice(0, tokenDigits)))];
  return [
    {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: {
        ...metadata,
        annotations: {
          [ROUTES_ANNOTATION]: prefixes.sort().join(','),
          [TOKEN_SECRETS_ANNOTATION]: tokenSecretsText(cache, inputs.leftovers),
        },
      },
      data: { [CONFIG_FILE]: podManifest(cache, inputs) },
    },
  ];
}

/** SHA-256 of the file that the servers read: they report it once they run it. */
export function configHash(cache: Cache, inputs: Inputs): string {
  return createHash('sha256').update(podManifest(cache, inputs)).digest('hex');
}

/** `signing.mode` of the manifest that the servers were told last; undefined where that is not what we wrote. */
export function signingModeIn({ data }: ConfigMap): unknown {
  try {
    const manifest: unknown = parse(data?.[CONFIG_FILE] ?? '');
    return (manifest as { spec?: { signing?: { mode?: unknown } } } | null)?.spec?.signing?.mode;
  } catch {
    return undefined;
  }
}

/** The manifest as text. It holds hashes, never a token. */
function podManifest(cache: Cache, inputs: Inputs): string {
  const { apiVersion, kind, metadata } = cache;
  // The namespace is left out: Secrets are found by where they are mounted.
  const manifest = { apiVersion, kind, metadata: { name: metadata.name }, spec: cache.spec };
  const { spec } = without(manifest, [...clusterOnly, ...processOnly]);
  const hashes = hashesOf(cache, inputs);
  const names = namesOf(cache);
  const whole = {
    ...spec,
    rootSecretRef: spec.rootSecretRef ?? { name: names.rootKey, key: 'root.key' },
    ...(spec.signing.mode === 'Managed' && {
      signing: {
        ...spec.signing,
        secretRefs: spec.signing.secretRefs ?? [{ name: names.signingKey, key: 'signing-key' }],
      },
    }),
    ...(spec.tokens && {
      // A token whose Secret is missing does not exist.
      tokens: spec.tokens.flatMap(({ name, permissions, expiresAt }) => {
        const sha256 = hashes.get(name);
        return sha256 === undefined ? [] : [{ name, permissions, ...(expiresAt && { expiresAt }), sha256 }];
      }),
    }),
  };
  const text = stringify(
    // The API server has filled in the defaults of the installed CRD, and the servers may be older than that.
    { ...manifest, spec: withoutDefaults(whole) },
    // A cache may be called `on`, which YAML 1.1 takes for true. An API server and a file have fields in different orders:
    // the same content must be the same bytes.
    { lineWidth: 0, aliasDuplicateObjects: false, compat: 'yaml-1.1', sortMapEntries: true },
  );
  return `# Written by the operator. Edit the BinaryCache ${metadata.name} instead.\n${text}`;
}

/** Hex SHA-256 of each token by its name. */
export function hashesOf({ spec }: Cache, { tokenHashes }: Inputs): ReadonlyMap<string, string> {
  return new Map(
    (spec.tokens ?? []).flatMap(({ name, sha256 = tokenHashes.get(name) }) =>
      sha256 === undefined ? [] : [[name, sha256]],
    ),
  );
}
