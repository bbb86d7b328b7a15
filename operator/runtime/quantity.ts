/** Quantities of Kubernetes, such as `500m`, `1.5Gi`, `2e3`. */

const POWERS: Readonly<Record<string, readonly [base: bigint, power: number]>> = {
  n: [10n, -9],
  u: [10n, -6],
  m: [10n, -3],
  '': [10n, 0],
  k: [10n, 3],
  M: [10n, 6],
  G: [10n, 9],
  T: [10n, 12],
  P: [10n, 15],
  E: [10n, 18],
  Ki: [2n, 10],
  Mi: [2n, 20],
  Gi: [2n, 30],
  Ti: [2n, 40],
  Pi: [2n, 50],
  Ei: [2n, 60],
};

/** Digits that are kept after the point; the API server keeps nine, rounding up. */
const SCALE = 9;

/** Whether two values, text or numbers, are the same quantity. */
export function sameQuantity(a: unknown, b: unknown): boolean {
  const value = nanos(a);
  return value !== undefined && value === nanos(b);
}

/** In billionths, exactly; undefined for what is no quantity. */
function nanos(quantity: unknown): bigint | undefined {
  if (typeof quantity !== 'string' && typeof quantity !== 'number') return undefined;
  const pattern =
    /^(?<sign>[+-]?)(?<whole>\d*)\.?(?<fraction>\d*)(?:[eE](?<exponent>[+-]?\d{1,2})|(?<unit>[A-Za-z]{0,2}))$/;
  const { sign, whole, fraction, exponent, unit } = pattern.exec(String(quantity))?.groups ?? {};
  if (whole === undefined || fraction === undefined || whole + fraction === '') return undefined;
  const [base, power] = exponent === undefined ? (POWERS[unit ?? ''] ?? []) : [10n, Number(exponent)];
  if (base === undefined || power === undefined) return undefined;
  const digits = BigInt(whole + fraction) * (base === 2n ? 2n ** BigInt(power) : 1n);
  const shift = SCALE - fraction.length + (base === 10n ? power : 0);
  const value = shift >= 0 ? digits * 10n ** BigInt(shift) : roundedUp(digits, 10n ** BigInt(-shift));
  return sign === '-' ? -value : value;
}

function roundedUp(dividend: bigint, divisor: bigint): bigint {
  return (dividend + divisor - 1n) / divisor;
}
