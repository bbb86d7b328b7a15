/**
 * How claims are written down: the data of the ConfigMap of a namespace. A public name has a key of its own, which an
 * administrator removes to release it; the digits of tokens, which are many, stand in one text. Pure.
 */
import type { Claim, Claims } from './claims.ts';
import { remembered } from './remembered.ts';

/** What a ConfigMap takes, which ends at a mebibyte: that of the claims and that of the routes of one namespace. */
export const MOST_NAMES = 2000;
export const MOST_TOKENS = 10_000;

/** Of one namespace. */
export interface NamespaceClaims {
  readonly names: Claims;
  readonly tokens: Claims;
}

type Data = Readonly<Record<string, string>>;

/** No name of a cache has a dot. */
const TOKENS = 'tokens.txt';
const DIGITS = /^[0-9a-f]{16}$/;

/** The names of caches and of namespaces. */
export const isLabel = (text: string): boolean => /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(text);

/** What is no claim is passed over: an administrator may have written it. A claim without a time is older than all. */
export function parseClaims(data: Data = {}): NamespaceClaims {
  const { [TOKENS]: text = '', ...names } = data;
  const lines = text.split('\n').map((line) => line.split(/\s+/));
  return {
    names: new Map(
      Object.entries(names).flatMap(([name, words]) => (isLabel(name) ? [[name, parseClaim(words.split(' '))]] : [])),
    ),
    tokens: new Map(
      lines.flatMap(([digits = '', ...words]) => (DIGITS.test(digits) ? [[digits, parseClaim(words)]] : [])),
    ),
  };
}

/** The same claims are the same bytes. Nothing at all where there are none. */
export function formatClaims({ names, tokens }: NamespaceClaims): Data | undefined {
  if (names.size + tokens.size === 0) return undefined;
  const text = formatTokens(tokens);
  return {
    ...Object.fromEntries(sorted(names).map(([name, claim]) => [name, formatClaim(claim)])),
    ...(text !== '' && { [TOKENS]: text }),
  };
}

const formatTokens = remembered((tokens: Claims): string =>
  sorted(tokens)
    .map(([digits, claim]) => `${digits} ${formatClaim(claim)}\n`)
    .join(''),
);

const sorted = (claims: Claims) => [...claims].sort(([a], [b]) => (a < b ? -1 : 1));

/** `2030-01-01T00:00:00Z`, and `unused 2030-01-02T00:00:00Z` behind it while nothing needs it. */
function formatClaim({ sinceMs, unusedMs }: Claim): string {
  return unusedMs === undefined ? timeOf(sinceMs) : `${timeOf(sinceMs)} unused ${timeOf(unusedMs)}`;
}

function parseClaim([since = '', unused = '', at = '']: readonly string[]): Claim {
  const [sinceMs, unusedMs] = [Date.parse(since) || 0, Date.parse(at)];
  return unused === 'unused' && !Number.isNaN(unusedMs) ? { sinceMs, unusedMs } : { sinceMs };
}

const timeOf = (ms: number): string => new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z');
