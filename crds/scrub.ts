import { bytes, duration } from './fields.ts';
import type { Schema } from './schema.ts';

/** The look at all objects in the background. */
export const scrub = {
  type: 'object',
  description:
    'Look at all objects in the background, so that lost ones are known before somebody needs them: at their sizes daily, at their contents every `every`. Absent: off. Needs reads of the whole cache.',
  properties: {
    every: {
      ...duration,
      default: '30d',
      description: 'Time between two looks at all contents. Sizes are looked at daily, or as often as contents.',
    },
    rate: {
      ...bytes,
      default: '32Mi',
      description: 'Bytes per second that are read at most; 0: as fast as it goes.',
    },
  },
} as const satisfies Schema;
