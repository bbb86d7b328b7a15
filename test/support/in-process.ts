/** A server in the process of the test: started and stopped in a tenth of the time, for tests that start very many. */
import { pino } from 'pino';
import type { ServeOptions } from '../../server/options.ts';
import { type Running, serve } from '../../server/serve.ts';
import { defaultTimeouts } from '../../server/wire/index.ts';

/** @param onLog hears of every line that it logs. @throws whatever `serve` throws: the test is about that */
export function startInProcess(
  place: Pick<ServeOptions, 'files' | 'data'> & Partial<ServeOptions>,
  onLog: (line: string) => void = () => {},
): Promise<Running> {
  const listen = { host: '127.0.0.1', port: 0 };
  const options: ServeOptions = {
    secrets: undefined,
    storages: undefined,
    listen: [{ ...listen, cache: undefined }],
    adminListen: listen,
    apiUrl: '',
    aliases: [],
    trustedProxies: [],
    fileSenders: [],
    renameHost: false,
    logLevel: 'info',
    prettyLog: false,
    banner: false,
    timeouts: defaultTimeouts,
    settings: {},
    shutdownGraceMs: 1000,
    // Looked at when the test says so.
    reloadMs: 3600_000,
    verifyThreads: 1,
    decoderBytes: 128 * 2 ** 20,
    maxVerifications: undefined,
    maxDownloads: 100,
    maxPushBodies: 100,
    downloadWaitMs: 1000,
    pace: { leastRate: 1, overMs: 60_000 },
    stallMs: 60_000,
    bodyMemoryBytes: 2 ** 26,
    s3BufferBytes: 2 ** 20,
    ...place,
  };
  return serve(options, pino({ level: options.logLevel }, { write: onLog }));
}
