/** The verdict on bytes that have arrived. */
import { type Claim, type Facts, type Verification, VerifierFailure } from './verify/index.ts';

/**
 * Waits for a verdict; where the verifier itself failed (a thread died), the file is verified once more from its
 * beginning, since a client that cannot repeat a PUT would be lost. @throws VerifyError, VerifierFailure
 */
export async function verified(first: Verification, again: () => Verification, claim: Claim): Promise<Facts> {
  try {
    return await first.finish(claim);
  } catch (error) {
    if (!(error instanceof VerifierFailure) || error.code !== 'internal') throw error;
    return again().finish(claim);
  }
}
