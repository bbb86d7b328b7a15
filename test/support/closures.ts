/** Closures of a database without the rest of a cache. */
import { pino } from 'pino';
import { Closures } from '../../server/cache/closures/index.ts';
import { Leases } from '../../server/cache/database/index.ts';
import type { Database } from '../../server/metadata/index.ts';

export function closuresOf(database: Database): Closures {
  const logger = pino({ level: 'silent' });
  return new Closures({ database, leases: new Leases({ database, logger }), logger });
}
