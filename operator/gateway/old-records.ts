/**
 * The record of names of versions that had one ConfigMap for all namespaces: `name: namespace`. It is read and left as it
 * is, so that an older operator that is started again decides as before. Of a namespace that has a ConfigMap of its own
 * it counts no more. Pure.
 */
import type { ConfigMap } from '../runtime/index.ts';
import { isLabel, type NamespaceClaims } from './claim-texts.ts';
import type { AllClaims, Claim } from './claims.ts';

export interface AllRecords {
  readonly names: AllClaims;
  readonly tokens: AllClaims;
  /** Namespaces in the old record: theirs must have a ConfigMap of their own, if an empty one. */
  readonly old: ReadonlySet<string>;
}

export function withOldRecords(
  records: ReadonlyMap<string, NamespaceClaims>,
  record: ConfigMap | undefined,
): AllRecords {
  const names = new Map([...records].map(([namespace, own]) => [namespace, own.names]));
  const sinceMs = Date.parse(record?.metadata.creationTimestamp ?? '') || 0;
  const old = new Map<string, Map<string, Claim>>();
  for (const [name, namespace] of Object.entries(record?.data ?? {})) {
    // Written by hand, perhaps; and what is no name is nobody's.
    if (!isLabel(name) || !isLabel(namespace)) continue;
    const own = old.get(namespace) ?? new Map<string, Claim>();
    old.set(namespace, own.set(name, { sinceMs }));
  }
  for (const [namespace, own] of old) if (!records.has(namespace)) names.set(namespace, own);
  const tokens = new Map([...records].map(([namespace, own]) => [namespace, own.tokens]));
  return { names, tokens, old: new Set(old.keys()) };
}
