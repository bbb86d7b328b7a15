/** Flags of every command that listens: the bounds of its connections, and what it logs. */
import { Option } from 'commander';
import { defaultTimeouts } from '../wire/index.ts';
import { seconds } from './values.ts';

export function headersTimeoutOption(): Option {
  return seconds(
    '--headers-timeout <seconds>',
    'until the headers of a request are there',
    'NARWHAL_HEADERS_TIMEOUT',
    defaultTimeouts.headersMs / 1000,
  );
}

export function responseTimeoutOption(): Option {
  return seconds(
    '--response-timeout <seconds>',
    'without a byte of an answer taken by its reader',
    'NARWHAL_RESPONSE_TIMEOUT',
    defaultTimeouts.idleResponseMs / 1000,
  );
}

export function stallTimeOption(): Option {
  return seconds(
    '--stall-time <seconds>',
    'with hardly a byte from or to a client, after which it loses its place to others who wait',
    'NARWHAL_STALL_TIME',
    30,
  );
}

export function keepAliveTimeoutOption(): Option {
  return seconds(
    '--keep-alive-timeout <seconds>',
    'between two requests on a connection',
    'NARWHAL_KEEP_ALIVE_TIMEOUT',
    defaultTimeouts.keepAliveMs / 1000,
  );
}

export function logLevelOption(): Option {
  return new Option('--log-level <level>', 'least important lines to log')
    .env('NARWHAL_LOG_LEVEL')
    .choices(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'])
    .default('info');
}

export function logFormatOption(): Option {
  return new Option('--log-format <format>', 'json, or pretty for people. Default: pretty on a terminal')
    .env('NARWHAL_LOG_FORMAT')
    .choices(['json', 'pretty']);
}
