/** A process that serves until a signal ends it. */
import type { Logger } from 'pino';

export interface UntilSignalInit<T> {
  readonly start: () => Promise<T>;
  readonly onReady: (running: T) => void;
  /** How long its stop may take. */
  readonly graceMs: number;
  readonly logger: Logger;
}

/** What a stop may take beside the grace that requests have. */
const LAST_STEPS_MS = 10_000;

/** Starts, and stops on SIGINT or SIGTERM; one that is asked for while it starts waits for the start. */
export async function untilSignal<T extends { stop(): Promise<void> }>(init: UntilSignalInit<T>): Promise<void> {
  const { start, onReady, graceMs, logger } = init;
  let stop: (() => Promise<void>) | undefined;
  let asked = false;
  const ended = new Promise<void>((resolve, reject) => {
    const onSignal = (signal: NodeJS.Signals) => {
      if (asked) return;
      asked = true;
      logger.info({ signal }, 'stopping: requests in progress may finish');
      setTimeout(() => {
        // Nothing that was acknowledged is lost: the next start goes on as after a crash.
        logger.fatal('the server did not stop in time and is ended');
        process.exit(1);
      }, graceMs + LAST_STEPS_MS).unref();
      stop?.().then(resolve, reject);
    };
    process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  });
  const running = await start();
  stop = () => running.stop();
  if (asked) {
    await running.stop();
    return;
  }
  onReady(running);
  await ended;
  logger.info('stopped');
}
