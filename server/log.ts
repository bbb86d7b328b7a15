/** Logs go to standard error, so that what a command prints can be piped. */
import { type Logger, pino } from 'pino';
import pretty from 'pino-pretty';

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
  return pino(options, pretty({ destination: 2, sync: true, ignore: 'pid,hostname', translateTime: 'SYS:HH:MM:ss' }));
}
