import { Budget, type BudgetInit, currentCaller } from '../../shares/index.ts';

/**
 * Memory for bytes on their way to S3, shared by all storages of the process. What asks for more than there is waits;
 * who holds some and waits for more sends what it holds meanwhile, and goes before all who begin.
 */
export class ByteBudget {
  readonly #budget: Budget;

  constructor(totalBytes: number, stalls: Omit<BudgetInit, 'units'> = {}) {
    this.#budget = new Budget({ units: totalBytes, ...stalls });
  }

  /** Bytes that are held. */
  get held(): number {
    return this.#budget.held;
  }

  /** How often somebody who stood still has lost bytes to others. */
  get revoked(): number {
    return this.#budget.revoked;
  }

  /**
   * Resolves when `bytes` are there, with what gives them back. More than all counts as all.
   * @param goesOn for a body of which a part is on its way already
   */
  async take(bytes: number, { goesOn = false } = {}): Promise<() => void> {
    const { release } = await this.#budget.take({ caller: currentCaller(), units: bytes, goesOn });
    return release;
  }
}
