/** Where what is there differs from what is wanted, in words. */
import { isDeepStrictEqual } from 'node:util';
import { type AnyObj, type Desired, sameQuantity } from '../runtime/index.ts';

/** Places of the template that the wanted StatefulSet gives another value, as `spec.containers[server].image`. */
export function restartReasons(live: AnyObj, want: Desired): string[] {
  return differences(template(live), template(want), '');
}

/** Places of an object that are not as wanted. */
export function changedPlaces(live: AnyObj, want: Desired): string[] {
  return differences(live, want, '');
}

const template = (object: AnyObj | Desired): unknown => (object.spec as { template?: unknown } | undefined)?.template;

/** Only what is wanted is compared: the API server fills in much that nobody asked for. */
function differences(live: unknown, want: unknown, at: string): string[] {
  if (Array.isArray(want)) {
    const found = named(live);
    const wanted = named(want);
    const gone = [...found.keys()].filter((name) => !wanted.has(name));
    return [
      ...[...wanted].flatMap(([name, item]) => differences(found.get(name), item, `${at}[${name}]`)),
      ...gone.map((name) => `${at}[${name}] (removed)`),
    ];
  }
  if (isMapping(want) && isMapping(live)) {
    return Object.entries(want).flatMap(([field, value]) =>
      differences(live[field], value, at === '' ? field : `${at}.${field}`),
    );
  }
  if (isSame(live, want, at)) return [];
  return [live === undefined ? `${at} (added)` : at];
}

/** The API server writes `0.25` as `250m`, and drops the empty value of a variable. */
function isSame(live: unknown, want: unknown, at: string): boolean {
  if (live === undefined && want === '') return true;
  return isDeepStrictEqual(live, want) || (at.includes('.resources.') && sameQuantity(live, want));
}

/** Items of a list by what tells them apart; without a name, by their place. */
function named(list: unknown): Map<string, unknown> {
  const items = Array.isArray(list) ? list : [];
  return new Map(
    items.map((item, index) => {
      const { name, mountPath, containerPort } = isMapping(item) ? item : {};
      return [String(mountPath ?? name ?? containerPort ?? index), item];
    }),
  );
}

function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
