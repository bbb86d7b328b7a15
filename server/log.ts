/** Logs go to standard error, so that what a command prints can be piped. */
import { createRequire } from 'node:module';
import { type Logger, pino } from 'pino';
import type { PinoPretty } from 'pino-pretty';

const require = createRequire(import.meta.url);

/** @param readable lines for people instead of JSON */
export function createLogger(level: string, readable: boolean): Logger {
  const options = {
    level,
    // Whatever an object that is logged may hold: these never come out.
    redact: {
      paths: [
        'req.headers.authorization',
        'headers.authorization',
        '*.authorization',
        'token',
        '*.token',
        'secret',
        '*.secret',
      ],
      censor: '[redacted]',
    },
  };
  if (!readable) return pino(options, pino.destination({ dest: 2, sync: false }));
  // Thirty modules that nobody needs whose logs are JSON.
  const pretty: typeof PinoPretty = require('pino-pretty');
  return pino(options, pretty({ destination: 2, sync: true, ignore: 'pid,hostname', translateTime: 'SYS:HH:MM:ss' }));
}
