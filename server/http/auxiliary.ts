/** Files beside narinfos and NARs that nix pushes and others read: each family has a limit, and a form where one is known. */
import type { Settings } from '../cache/index.ts';
import { checkDebugInfo, isBasename, isHashPart, ListingChecker, type RealisationKey } from '../nix/index.ts';
import { type BodyChecker, wholeChecker } from './checked-body.ts';

export interface Auxiliary {
  /** Under which it is stored: one for all names that it goes by. */
  readonly key: string;
  readonly route: string;
  readonly contentType: string;
  readonly limit: (settings: Settings) => number;
  /** What is served as it came is checked as it comes in, where its form is known. */
  readonly checker: (() => BodyChecker) | undefined;
  /** A realisation is understood, and signed when it is served. */
  readonly realisation: RealisationKey | undefined;
  /** Of the path that it tells of. */
  readonly hashPart: string | undefined;
}

interface Family {
  readonly route: string;
  readonly pattern: RegExp;
  readonly isValid: (...parts: string[]) => boolean;
  readonly contentType: string;
  readonly limit: (settings: Settings) => number;
  readonly keyOf?: (path: string) => string;
  readonly checker?: () => BodyChecker;
  readonly realisationOf?: (...parts: string[]) => RealisationKey;
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
    checker: () => new ListingChecker(),
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
    // nix writes the longer name, dwarffs asks for the shorter one.
    keyOf: (path) => (path.endsWith('.debug') ? path : `${path}.debug`),
    checker: () => wholeChecker(checkDebugInfo),
  },
  {
    route: 'realisation',
    pattern: /^realisations\/(sha256:[0-9a-f]{64}![0-9A-Za-z+\-._?=]{1,211})\.doi$/,
    isValid: () => true,
    contentType: 'application/json',
    limit: (settings) => settings.maxRealisationBytes,
    realisationOf: (id = '') => ({ form: 'id', id }),
  },
  {
    route: 'realisation',
    pattern: /^build-trace-v2\/([^/]+)\/([0-9A-Za-z+\-._?=]{1,211})\.doi$/,
    isValid: isDrv,
    contentType: 'application/json',
    limit: (settings) => settings.maxRealisationBytes,
    realisationOf: (drvPath = '', outputName = '') => ({ form: 'trace', drvPath, outputName }),
  },
];

/** The auxiliary file that a path inside a cache names (without the leading slash), if it names one. */
export function auxiliaryOf(path: string): Auxiliary | undefined {
  for (const { pattern, isValid, keyOf, checker, realisationOf, ...family } of FAMILIES) {
    const match = pattern.exec(path);
    if (match === null) continue;
    const parts = match.slice(1);
    if (!isValid(...parts)) return undefined;
    const hashPart = family.route === 'listing' ? parts[0] : undefined;
    return { ...family, key: keyOf?.(path) ?? path, checker, realisation: realisationOf?.(...parts), hashPart };
  }
  return undefined;
}
