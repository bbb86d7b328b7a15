import { FormatError } from './errors.ts';
import { parseJsonObject } from './json.ts';

const LIMITS = { maxDepth: 4, maxStringBytes: 32 * 1024 };

/**
 * Checks where debug information is said to be: `{"archive": "../nar/<file>", "member": "lib/debug/..."}`, as nix writes with
 * `index-debug-info`. Readers fetch the archive by that address, so it must not lead out of the cache. Throws {@link FormatError}.
 */
export function checkDebugInfo(bytes: Uint8Array): void {
  const { archive, member } = parseJsonObject('debuginfo', bytes, LIMITS);
  if (typeof archive !== 'string' || !/^\.\.\/nar\/[0-9A-Za-z.+_-]+$/.test(archive) || archive.endsWith('/..'))
    throw new FormatError('archive', 'archive: expected ../nar/ and the name of a NAR');
  const isInside = typeof member === 'string' && member !== '' && !/[\0]/.test(member) && !member.startsWith('/');
  if (!isInside || member.split('/').includes('..'))
    throw new FormatError('member', 'member: expected the path of a file inside the NAR');
}
