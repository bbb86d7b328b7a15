/** Why a path is here, or is not. */
import type { Database } from '../../metadata/index.ts';
import { STORE_DIR } from '../../nix/index.ts';
import type { Block, Blocks } from '../blocks/index.ts';
import type { Closures } from '../closures/index.ts';
import { LAST_USE, USE_JOIN } from '../use/index.ts';

export type Explanation =
  /** Readers get it. */
  | { readonly state: 'published'; readonly storePath: string; readonly publishedAt: Date; readonly usedAt: Date }
  /** It is here, and something of its closure is not: hash parts. */
  | {
      readonly state: 'waiting';
      readonly storePath: string;
      readonly publishedAt: Date;
      readonly usedAt: Date;
      readonly waitsFor: readonly string[];
    }
  /** It is published, and its bytes are gone, cut short or changed. */
  | { readonly state: 'lost'; readonly storePath: string; readonly since: Date }
  /** Its bytes are still here: a push of it, or of what needs it, brings it back. */
  | { readonly state: 'retired'; readonly storePath: string; readonly gone: Gone }
  | { readonly state: 'removed'; readonly storePath: string; readonly gone: Gone }
  | { readonly state: 'unknown' };

export interface Gone {
  /** `unused`, `maxSize` or `deleted`. */
  readonly reason: string;
  readonly at: Date;
  readonly usedAt: Date;
  /** Name of the token of who deleted it. */
  readonly actor: string | undefined;
}

export interface Explained {
  readonly explanation: Explanation;
  /** Why nobody may push it. */
  readonly block: Block | undefined;
}

export interface ExplainInit {
  readonly database: Database;
  readonly blocks: Blocks;
  readonly closures: Pick<Closures, 'waitsOf'>;
}

export async function explain(init: ExplainInit, hashPart: string): Promise<Explained> {
  return { explanation: await stateOf(init, hashPart), block: await init.blocks.of(hashPart) };
}

interface PublishedRow {
  readonly name: string;
  readonly published_at: number;
  readonly used_at: number;
  readonly state: string;
  readonly lost_since: number | null;
}

async function stateOf({ database, closures }: ExplainInit, hashPart: string): Promise<Explanation> {
  const storePath = (name: string) => `${STORE_DIR}/${hashPart}-${name}`;
  const [row] = await database.query<PublishedRow>(
    `SELECT p.name, p.published_at, ${LAST_USE} AS used_at, o.state, o.lost_since
     FROM paths p JOIN objects o ON o.id = p.object_id ${USE_JOIN} WHERE p.hash_part = ?`,
    [hashPart],
  );
  if (row?.state === 'lost')
    return { state: 'lost', storePath: storePath(row.name), since: dateOf(row.lost_since ?? 0) };
  if (row !== undefined) {
    const waitsFor = await closures.waitsOf(hashPart);
    const known = {
      storePath: storePath(row.name),
      publishedAt: dateOf(row.published_at),
      usedAt: dateOf(row.used_at),
    };
    return waitsFor.length > 0 ? { state: 'waiting', ...known, waitsFor } : { state: 'published', ...known };
  }
  for (const [state, column] of [
    ['retired', 'retired_at'],
    ['removed', 'removed_at'],
  ] as const) {
    const [gone] = await database.query<{
      name: string;
      reason: string;
      at: number;
      used_at: number;
      actor: string | null;
    }>(`SELECT name, reason, ${column} AS at, used_at, actor FROM ${state} WHERE hash_part = ?`, [hashPart]);
    if (gone === undefined) continue;
    const { name, reason, at, used_at: usedAt, actor } = gone;
    return {
      ...{ state, storePath: storePath(name) },
      gone: { reason, at: dateOf(at), usedAt: dateOf(usedAt), actor: actor ?? undefined },
    };
  }
  return { state: 'unknown' };
}

/** PostgreSQL's driver may give 64-bit numbers as texts. */
const dateOf = (milliseconds: number) => new Date(Number(milliseconds));
