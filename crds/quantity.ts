const factors: Readonly<Record<string, number>> = {
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
};

/** The form of a quantity of bytes, shared with the CRDs. */
export const quantityPattern = '^[0-9]+(\\.[0-9]+)?(k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$';

/** `quantityPattern` in words. */
export const quantityForms =
  'a number of bytes, plain or with k, M, G, T, P (powers of 1000) or Ki, Mi, Gi, Ti, Pi (powers of 1024)';

/** A text or number that is no quantity of bytes. */
export class QuantityError extends Error {
  readonly code = 'InvalidQuantity';

  constructor(reason: string) {
    super(reason);
    this.name = 'QuantityError';
  }
}

/** The bytes of a quantity as Kubernetes writes it: `10Gi` is 10737418240. Fractions of a byte round up. */
export function parseQuantity(quantity: string | number): number {
  const match = /^([0-9]+(?:\.[0-9]+)?)([a-zA-Z]*)$/.exec(String(quantity));
  const factor = match && Object.hasOwn(factors, match[2] ?? '') ? factors[match[2] ?? ''] : undefined;
  if (!match || factor === undefined) throw new QuantityError(`must be ${quantityForms}`);
  const bytes = Math.ceil(Number(match[1]) * factor);
  if (!Number.isSafeInteger(bytes))
    throw new QuantityError('is too large: the limit is 2^53 - 1 bytes (just below 8Pi)');
  return bytes;
}
