/** `spec.retention`: what is removed by itself. */
import { bytes } from './fields.ts';
import type { Schema } from './schema.ts';

const seconds = { type: 'integer', format: 'int64', minimum: 0, maximum: 3153600000 } as const;
const percent = { type: 'integer', format: 'int32', minimum: 1, maximum: 100 } as const;

export const retention = {
  type: 'object',
  description: 'What is removed by itself. Absent: nothing.',
  properties: {
    days: {
      type: 'integer',
      format: 'int32',
      minimum: 1,
      maximum: 36500,
      description: 'Paths that nobody used for so many days are removed.',
    },
    maxSize: {
      ...bytes,
      description: 'Above this size the paths that were not used for the longest time are removed.',
    },
    keepPins: {
      type: 'boolean',
      default: true,
      description: 'Pinned paths stay, and what they need. False: they count as any other.',
    },
    minAgeSeconds: {
      ...seconds,
      default: 24 * 3600,
      description: 'Younger paths stay, whatever the size: a push is not over when its first path is there.',
    },
    graceSeconds: {
      ...seconds,
      default: 24 * 3600,
      description:
        'Bytes of removed paths stay so long, for clients that hold their narinfos; nix remembers those for 30 days.',
    },
    everySeconds: {
      ...seconds,
      minimum: 60,
      default: 3600,
      description: 'How often is looked at what may go.',
    },
    highPercent: {
      ...percent,
      default: 100,
      description: 'Paths go once so much of `maxSize` is published.',
    },
    lowPercent: {
      ...percent,
      default: 90,
      description: 'They go until so much of it is left.',
    },
  },
} as const satisfies Schema;
