/** A NAR on its way in, verified behind the file that it goes to, or as it passes by. */
import { CacheError } from '../errors.ts';
import { type Body, type Incoming, type ReceiveInit, receive } from '../objects/index.ts';
import type { Claim, Facts, VerifyRequest } from '../verify/index.ts';
import type { IngestInit } from './ingest.ts';
import { Arriving } from './verified.ts';

export interface NarInit extends Pick<ReceiveInit, 'declaredBytes' | 'maxBytes' | 'again'> {
  readonly form: Pick<VerifyRequest, 'suffix' | 'compression'>;
}

export interface ReceivedNar {
  /** To be closed in every case. */
  readonly incoming: Incoming;
  /** What the bytes are. @throws VerifyError, VerifierFailure */
  readonly verdict: (claim?: Omit<Claim, 'fileSize'>) => Promise<Facts>;
}

/** Takes in a whole body. @throws CacheError TooLarge, NoSpace, Incomplete, and what the body's iterator throws */
export async function receiveNar(
  { storages, verifier, settings }: Pick<IngestInit, 'storages' | 'verifier' | 'settings'>,
  body: Body,
  { form, ...rules }: NarInit,
): Promise<ReceivedNar> {
  const request = { ...form, maxNarSize: settings.maxNarBytes };
  let verification: Arriving | undefined;
  const onStaged = async ({ file }: { file: string | undefined }) => {
    await verification?.cancel();
    verification = new Arriving(verifier, request, file, settings.transientRetryMs);
    return verification;
  };
  const incoming = await receive({ ...rules, storages, onStaged }, body).catch(async (error: unknown) => {
    await verification?.cancel();
    throw error;
  });
  const verdict = async (claim?: Omit<Claim, 'fileSize'>) => {
    if (verification === undefined) throw new CacheError('Invalid', 'no NAR was received');
    return verification.verdict(incoming, claim);
  };
  return { incoming, verdict };
}
