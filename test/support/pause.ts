/** The pause between two looks at something that is waited for. */

const SHORTEST_MS = 20;
/** Nothing is noticed later than that. */
const LONGEST_MS = 100;
/** Of what was waited already: so much later is what takes long noticed at most. */
const PART = 0.1;

/** @param waitedMs so far */
export async function pauseAfter(waitedMs: number): Promise<void> {
  const ms = Math.min(LONGEST_MS, Math.max(SHORTEST_MS, waitedMs * PART));
  await new Promise((resolve) => setTimeout(resolve, ms));
}
