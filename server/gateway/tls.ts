/** Certificate and key of the listeners: files that somebody renews. */
import { readFile } from 'node:fs/promises';
import { createSecureContext } from 'node:tls';
import type { Logger } from 'pino';

export interface TlsFiles {
  readonly cert: string;
  readonly key: string;
}

export interface TlsPair {
  readonly cert: Buffer;
  readonly key: Buffer;
}

/** Files that are no certificate and its key. */
export class TlsFilesError extends Error {
  override readonly name = 'TlsFilesError';
}

/** @throws errors of the operating system; TlsFilesError, where the two are not what they should be together */
export async function readPair({ cert, key }: TlsFiles): Promise<TlsPair> {
  const [certBytes, keyBytes] = await Promise.all([readNamed(cert), readNamed(key)]);
  const pair = { cert: certBytes, key: keyBytes };
  try {
    createSecureContext(pair);
  } catch (error) {
    // OpenSSL's words name neither file, and repeat nothing of them.
    const reason = error instanceof Error ? error.message : String(error);
    throw new TlsFilesError(`${cert} and ${key} must be a certificate and its key, both in PEM (${reason})`, {
      cause: error,
    });
  }
  return pair;
}

/** Of a folder the system says only that it is one. */
async function readNamed(file: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (error) {
    if (error instanceof Error && !error.message.includes(file)) error.message = `${file}: ${error.message}`;
    throw error;
  }
}

/** Looks at the files every now and then; `use` gets a pair that is another one and sound. The function ends it. */
export function watchPair(
  files: TlsFiles,
  first: TlsPair,
  { intervalMs, use, logger }: { intervalMs: number; use: (pair: TlsPair) => void; logger: Logger },
): () => void {
  let last = first;
  let said = '';
  const look = async () => {
    try {
      const pair = await readPair(files);
      said = '';
      if (pair.cert.equals(last.cert) && pair.key.equals(last.key)) return;
      last = pair;
      use(pair);
      logger.info('the certificate has changed and is in use');
    } catch (error) {
      // Perhaps only one of the two is written yet.
      const reason = error instanceof Error ? error.message : String(error);
      if (reason !== said) logger.error({ reason }, 'the certificate could not be read; the last good one stays');
      said = reason;
    }
  };
  const timer = setInterval(() => void look(), intervalMs);
  return () => clearInterval(timer);
}
