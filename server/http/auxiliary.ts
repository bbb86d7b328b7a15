/** Files beside narinfos and NARs that nix pushes and others read: stored and served as they came, within limits. */
import type { Settings } from '../cache/index.ts';
import { isBasename, isHashPart } from '../nix/index.ts';

export interface Auxiliary {
  readonly key: string;
  readonly route: string;
  readonly contentType: string;
  readonly limit: (settings: Settings) => number;
}

interface Family {
  readonly route: string;
  readonly pattern: RegExp;
  readonly isValid: (...parts: string[]) => boolean;
  readonly contentType: string;
  readonly limit: (settings: Settings) => number;
}

const isDrv = (name = '') => name.endsWith('.drv') && isBasename(name);

/** nix-protocol: names as nix 2.8 to 2.35 write them. */
const FAMILIES: readonly Family[] = [
  {
    route: 'listing',
    pattern: /^([^/]+)\.ls$/,
    isValid: (hash = '') => isHashPart(hash),
    contentType: 'application/json',
    limit: (settings) => settings.maxListingBytes,
  },
  {
    route: 'log',
    pattern: /^log\/([^/]+)$/,
    isValid: isDrv,
    contentType: 'text/plain; charset=utf-8',
    limit: (settings) => settings.maxLogBytes,
  },
  {
    route: 'debuginfo',
    pattern: /^debuginfo\/([0-9a-f]{40})(?:\.debug)?$/,
    isValid: () => true,
    contentType: 'application/json',
    limit: (settings) => settings.maxDebugInfoBytes,
  },
  {
    route: 'realisation',
    pattern: /^realisations\/sha256:[0-9a-f]{64}!([0-9A-Za-z+\-._?=]{1,211})\.doi$/,
    isValid: () => true,
    contentType: 'application/json',
    limit: (settings) => settings.maxRealisationBytes,
  },
  {
    route: 'realisation',
    pattern: /^build-trace-v2\/([^/]+)\/[0-9A-Za-z+\-._?=]{1,211}\.doi$/,
    isValid: isDrv,
    contentType: 'application/json',
    limit: (settings) => settings.maxRealisationBytes,
  },
];

/** The auxiliary file that a path inside a cache names (without the leading slash), if it names one. */
export function auxiliaryOf(path: string): Auxiliary | undefined {
  for (const { route, pattern, isValid, contentType, limit } of FAMILIES) {
    const match = pattern.exec(path);
    if (match === null) continue;
    return isValid(...match.slice(1)) ? { key: path, route, contentType, limit } : undefined;
  }
  return undefined;
}
