/** Whether what the manifest pins is there. Pure. */
import * as reasons from '../reasons.ts';
import { condition, type Facts, type Finding, type NewCondition } from './facts.ts';

/** A person reads the first few. */
const MOST_NAMED = 5;

export function pinned(facts: Facts): NewCondition[] {
  const { pins = [] } = facts.cache.spec;
  if (pins.length === 0) return [];
  return [condition(reasons.PINS_PRESENT, 'every pinned path is here', missing(facts, pins.length))];
}

/** Of servers that know these pins. Where they share a database all say the same, one a moment later. */
function missing({ observed, expectedHash }: Facts, pins: number): Finding | undefined {
  const current = [...observed.reports.values()].filter(({ config }) =>
    config.files.some(({ sha256 }) => sha256 === expectedHash),
  );
  const [report, ...others] = current.flatMap(({ caches }) => caches.flatMap((it) => it.pins ?? []));
  if (report === undefined)
    return { reason: reasons.UNKNOWN, status: 'Unknown', message: 'no server has told of the pins of this manifest' };
  const most = others.reduce((most, it) => (it.missing > most.missing ? it : most), report);
  if (most.missing === 0) return undefined;
  const named = most.firstMissing.slice(0, MOST_NAMED).map(({ name, storePath }) => `${name} (${storePath})`);
  const more = most.missing > named.length ? [`${most.missing - named.length} more`] : [];
  const message = `${most.missing} of ${pins} pinned paths ${most.missing === 1 ? 'is' : 'are'} not here yet, and pinned once pushed: ${[...named, ...more].join(', ')}`;
  return { reason: reasons.PIN_MISSING, message };
}
