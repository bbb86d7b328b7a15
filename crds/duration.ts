/** The form of a time between two looks. Bounded, so that it is a number of milliseconds that a timer takes. */
export const durationPattern = '^[1-9][0-9]{0,4}(h|d)$';

/** `durationPattern` in words. */
export const durationForms = 'a number of hours or days such as 12h or 30d';

/** Milliseconds of what `durationPattern` allows. */
export function parseDuration(text: string): number {
  return Number.parseInt(text, 10) * (text.endsWith('d') ? 24 : 1) * 3600_000;
}
