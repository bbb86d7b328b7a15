/** The ServiceAccount of the pods. They get no token for it: a server never talks to the API server. */
import type { Desired } from '../../runtime/index.ts';
import { namesOf, ownedMetadata } from '../names.ts';
import type { Cache } from '../types.ts';

/** Name of the account that the pods run as. */
export function accountName(cache: Cache): string {
  return cache.spec.podTemplate?.spec?.serviceAccountName ?? namesOf(cache).account;
}

export function account(cache: Cache): Desired[] {
  if (accountName(cache) !== namesOf(cache).account) return [];
  return [
    {
      apiVersion: 'v1',
      kind: 'ServiceAccount',
      metadata: ownedMetadata(cache, namesOf(cache).account),
      automountServiceAccountToken: false,
    },
  ];
}
