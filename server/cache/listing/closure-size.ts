/** How large a path is with all that it needs. */
import type { Database } from '../../metadata/index.ts';
import { wordsOf } from './rows.ts';

export interface ClosureSize {
  /** Published here, itself included. */
  readonly paths: number;
  /** Of NARs, and of the files that hold them: those that several paths share count once. */
  readonly narBytes: number;
  readonly fileBytes: number;
  /** References that are not published here; what they need is not known. */
  readonly missing: number;
  /** Whether more was found than is looked at: then all numbers are too small. */
  readonly isCut: boolean;
}

/** Paths of one statement: each may have some thousand references. */
const PAGE = 500;
export const MOST_WALKED = 100_000;

interface Row {
  readonly refs: string;
  readonly object_id: number;
  readonly size: number | string;
  readonly nar_size: number | string | null;
}

/** Its plan is tested. */
export function closureQuery({ isOneOf }: Pick<Database, 'isOneOf'>): string {
  return `SELECT p.refs, p.object_id, o.size, o.nar_size FROM paths p JOIN objects o ON o.id = p.object_id
    WHERE ${isOneOf('p.hash_part')}`;
}

/** @param most how many paths are looked at @throws AbortError */
export async function closureSize(
  database: Pick<Database, 'query' | 'isOneOf' | 'list'>,
  hashPart: string,
  signal: AbortSignal,
  most = MOST_WALKED,
): Promise<ClosureSize> {
  const seen = new Set([hashPart]);
  const frontier = [hashPart];
  const nars = new Set<number>();
  let [paths, narBytes, fileBytes, missing, isCut] = [0, 0, 0, 0, false];
  while (frontier.length > 0) {
    signal.throwIfAborted();
    const page = frontier.splice(-PAGE);
    const rows = await database.query<Row>(closureQuery(database), [database.list(page)]);
    paths += rows.length;
    missing += page.length - rows.length;
    for (const { refs, object_id: nar, size, nar_size: narSize } of rows) {
      if (!nars.has(nar)) {
        nars.add(nar);
        narBytes += Number(narSize);
        fileBytes += Number(size);
      }
      for (const reference of wordsOf(refs)) {
        const needed = reference.slice(0, 32);
        if (seen.has(needed)) continue;
        if (seen.size >= most) {
          isCut = true;
          break;
        }
        seen.add(needed);
        frontier.push(needed);
      }
    }
  }
  return { paths, narBytes, fileBytes, missing, isCut };
}
