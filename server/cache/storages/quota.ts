/**
 * The bound of all that a cache stores: what lies in its storages, retired bytes among it, and what is on its way. Where
 * servers share a database each knows what the others have stored as of a minute ago, so that they may pass the bound by
 * what they take in within that time.
 */

import { CacheError } from '../errors.ts';
import type { Settings } from '../settings.ts';
import type { Entry } from './entry.ts';

export interface QuotaUse {
  /** Bytes; those on their way among them. */
  readonly usedBytes: number;
  /** Undefined: there is no bound. */
  readonly quotaBytes: number | undefined;
  /** Above it people are warned. */
  readonly softBytes: number | undefined;
}

/** Retired bytes do not stay for long from here on. */
const TIGHT = 0.95;

export function quotaUse(
  entries: Iterable<Entry>,
  joiningBytes: number,
  { quotaBytes, quotaSoft }: Pick<Settings, 'quotaBytes' | 'quotaSoft'>,
): QuotaUse {
  let usedBytes = joiningBytes;
  for (const entry of entries) usedBytes += entry.usedBytes + entry.reservedBytes;
  return { usedBytes, quotaBytes, softBytes: quotaBytes === undefined ? undefined : quotaBytes * quotaSoft };
}

export function isTight({ usedBytes, quotaBytes }: QuotaUse): boolean {
  return quotaBytes !== undefined && usedBytes >= quotaBytes * TIGHT;
}

/** Before `size` more bytes come in; what adds none is not asked. @throws CacheError NoSpace */
export function mustFitQuota({ usedBytes, quotaBytes }: QuotaUse, size: number): void {
  // An upload begins with no size: it is of no use where there is no room at all.
  if (quotaBytes === undefined || usedBytes + Math.max(size, 1) <= quotaBytes) return;
  throw new CacheError(
    'NoSpace',
    `this cache may hold ${human(quotaBytes)} and has ${human(usedBytes)}: delete paths, let spec.retention remove some, or raise spec.quota.maxSize`,
  );
}

const UNITS = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** Three digits and a unit. */
function human(bytes: number): string {
  let [value, unit] = [bytes, 0];
  for (; value >= 1024 && unit < UNITS.length - 1; unit++) value /= 1024;
  return `${Number(value.toPrecision(value >= 1000 ? 4 : 3))} ${UNITS[unit]}`;
}
