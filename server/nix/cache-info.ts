import { FormatError, shown } from './errors.ts';
import { STORE_DIR } from './store-path.ts';

/** What `nix-cache-info` says. */
export interface CacheInfo {
  readonly storeDir: string;
  /** Whether clients may ask for many paths at once. */
  readonly wantMassQuery: boolean;
  /** Caches with a lower number are asked first; cache.nixos.org has 40. */
  readonly priority: number;
}

export function renderCacheInfo(info: { wantMassQuery?: boolean; priority: number }): string {
  return `StoreDir: ${STORE_DIR}\nWantMassQuery: ${info.wantMassQuery === false ? 0 : 1}\nPriority: ${info.priority}\n`;
}

/**
 * Reads `nix-cache-info` as Nix does (src/libstore/binary-cache-store.cc): values trimmed, unknown lines ignored,
 * missing ones read as `/nix/store`, 0 and 0. Throws {@link FormatError} for a priority that is no number.
 */
export function parseCacheInfo(text: string): CacheInfo {
  const values = new Map<string, string>();
  for (const line of text.split('\n')) {
    const colon = line.indexOf(':');
    if (colon > 0) values.set(line.slice(0, colon), line.slice(colon + 1).trim());
  }
  const priority = values.get('Priority') ?? '0';
  if (!/^-?[0-9]{1,9}$/.test(priority)) {
    throw new FormatError('Priority', `Priority: expected a whole number, got ${shown(priority)}`);
  }
  return {
    storeDir: values.get('StoreDir') ?? STORE_DIR,
    wantMassQuery: values.get('WantMassQuery') === '1',
    priority: Number(priority),
  };
}
