/** The end of every Cachix upload: its bytes are durable and verified; sign them and make the path visible. */

import type { Statement } from '../../metadata/index.ts';
import { fingerprint, parseHash } from '../../nix/index.ts';
import type { NewObject } from '../objects/index.ts';
import type { NarFacts, Narinfo, NewPath } from '../paths/index.ts';
import { namedSignatures, signaturesFor } from '../signing/index.ts';
import type { IngestInit } from './ingest.ts';
import type { PathClaim } from './narinfo-create.ts';

/** The path of a claim that agrees with its bytes, signed. @throws CacheError Invalid (a false signature) */
export function signedPath(init: IngestInit, claim: PathClaim, facts: NarFacts): NewPath {
  const { storePath, narSize, references } = claim;
  const keys = init.keys();
  const text = fingerprint({ storePath, narHash: parseHash(claim.narHash), narSize, references });
  return {
    hashPart: claim.hashPart,
    name: claim.name,
    references,
    deriver: claim.deriver,
    ca: undefined,
    narHash: facts.narHash,
    narSize,
    signatures: signaturesFor(keys, text, namedSignatures(keys, text, claim.signature)),
  };
}

/** The narinfo of a path that need not be pushed again: its NAR is there. */
export async function servedAlready(
  { paths, objects, uses }: Pick<IngestInit, 'paths' | 'objects' | 'uses'>,
  hashPart: string,
): Promise<Narinfo | undefined> {
  const narinfo = await paths.find(hashPart, 'pusher');
  const object = narinfo && (await objects.find(narinfo.narKey));
  if (object === undefined || !(await objects.isThere(object))) return undefined;
  uses.touch(hashPart);
  return narinfo;
}

/** Publishes, with `also` in the same transaction. Where another push was faster its path stays. */
export async function publishUpload(
  init: IngestInit,
  claim: PathClaim,
  nar: { readonly object: NewObject; readonly facts: NarFacts },
  also: readonly Statement[],
  path = signedPath(init, claim, nar.facts),
): Promise<void> {
  const { objects, paths, logger } = init;
  const outcome = await objects.record(nar.object, () => paths.publish(path, nar, also));
  if (outcome.kind === 'published') init.onPublished(path);
  else if (outcome.kind === 'healed') logger.info({ storePath: claim.storePath }, 'healed: its lost NAR is here again');
  else logger.info({ storePath: claim.storePath, outcome }, 'pushed by two clients at once; the first one stays');
  // The usual push leaves nothing behind; a lost race or a NAR that was there under another path does.
  if (outcome.kind !== 'published' || !outcome.isNewNar) objects.collect();
}
