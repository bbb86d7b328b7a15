/** Sizes for people: rounded, so that a status does not change with every byte. */

const UNITS = ['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi'];

/** Up to three digits and a unit, in the form of a quantity: `41Gi`, `1.5Ti`. */
export function roundBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (Math.round(value) >= 1000 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  const digits = unit > 0 && value < 10 ? Math.round(value * 10) / 10 : Math.round(value);
  return `${digits}${UNITS[unit]}`;
}
