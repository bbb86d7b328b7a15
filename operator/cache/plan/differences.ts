/** Where what is there differs from what is wanted, in words. */
import { isDeepStrictEqual } from 'node:util';
import { type AnyObj, type Desired, sameQuantity } from '../../runtime/index.ts';

/** Places of the template that the wanted StatefulSet gives another value, as `spec.containers[server].image`. */
export function restartReasons(live: AnyObj, want: Desired): string[] {
  return differences(template(live), template(want), '', (place) => SAID.test(place));
}

/** Places of an object that are not as wanted. */
export function changedPlaces(live: AnyObj, want: Desired): string[] {
  return differences(live, want, '', () => false);
}

const template = (object: AnyObj | Desired): unknown => (object.spec as { template?: unknown } | undefined)?.template;

/** Where only manifests say something: what is there and not wanted was removed. The API server fills in much elsewhere. */
const SAID =
  /^(metadata\.(labels|annotations)|spec\.(nodeSelector|affinity|tolerations|imagePullSecrets|priorityClassName|containers\[server\]\.resources))\b/;

/** Maps whose entries are told one by one, also when the last one goes. */
const ENTRIES = /\b(labels|annotations|nodeSelector|limits|requests)$/;

/** @param isSaid whether only manifests say something there */
function differences(live: unknown, want: unknown, at: string, isSaid: (place: string) => boolean): string[] {
  if (Array.isArray(want) || Array.isArray(live)) {
    const found = named(live);
    const wanted = named(want);
    const gone = [...found.keys()].filter((name) => !wanted.has(name));
    return [
      ...[...wanted].flatMap(([name, item]) => differences(found.get(name), item, `${at}[${name}]`, isSaid)),
      ...gone.map((name) => `${at}[${name}] (removed)`),
    ];
  }
  if (isMapping(live) && (isMapping(want) || (want === undefined && ENTRIES.test(at)))) {
    const below = (field: string) => (at === '' ? field : `${at}.${field}`);
    // Annotations of kubectl stay, whatever we apply.
    const gone = Object.keys(live).filter(
      (field) => want?.[field] === undefined && isSaid(below(field)) && !field.includes('kubernetes.io/'),
    );
    const fields = [...Object.keys(want ?? {}), ...gone];
    return fields.flatMap((field) => differences(live[field], want?.[field], below(field), isSaid));
  }
  if (isSame(live, want, at)) return [];
  if (want === undefined) return [`${at} (removed)`];
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
