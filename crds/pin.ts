import type { Of, Schema } from './schema.ts';

/** Pins that a manifest lists. */
export const mostPins = 1000;

/** A name is the end of a URL: no control character, no backslash, and between its slashes neither nothing nor `.` or `..`. */
const NOT = '/\\\\\\x00-\\x1f\\x7f-\\x9f';
const SEGMENT = `([^.${NOT}][^${NOT}]*|\\.[^.${NOT}][^${NOT}]*|\\.\\.[^${NOT}]+)`;

const pinName = {
  type: 'string',
  minLength: 1,
  maxLength: 200,
  pattern: `^${SEGMENT}(/${SEGMENT})*$`,
  allowed: 'a name that a URL can end with, without control characters and backslashes',
  description: 'Name of the pin. A token cannot pin or remove what is under it.',
} as const satisfies Schema;

const REST = '[0-9A-Za-z+._?=-]*';
/** As src/libstore/path.cc has it: neither `.` nor `..`, nor anything that begins with `.-` or `..-`. */
const PATH_NAME = `([0-9A-Za-z+_?=-]${REST}|\\.[0-9A-Za-z+_?=]${REST}|\\.\\.[0-9A-Za-z+._?=]${REST})`;

export const pin = {
  type: 'object',
  required: ['name', 'storePath'],
  properties: {
    name: pinName,
    storePath: {
      type: 'string',
      maxLength: 255,
      pattern: `^/nix/store/[0-9a-df-np-sv-z]{32}-${PATH_NAME}$`,
      allowed: 'a store path, /nix/store/HASH-NAME',
      description: 'The path that stays, with all that it refers to. It may be pushed later. A change adds a revision.',
    },
    keep: {
      type: 'object',
      description: 'Which revisions stay beside the newest. Absent: all.',
      properties: {
        days: {
          type: 'integer',
          format: 'int32',
          minimum: 1,
          maximum: 36500,
          description: 'Those that were added in the last so many days.',
        },
        revisions: {
          type: 'integer',
          format: 'int32',
          minimum: 1,
          maximum: 1000000,
          description: 'The last so many, the newest among them.',
        },
      },
    },
  },
} as const satisfies Schema;

export type PinSpec = Of<typeof pin>;

const NAME = new RegExp(pinName.pattern, 'u');

/** Whether a pin may be called so, by clients as in a manifest. */
export function isPinName(text: string): boolean {
  return text.isWellFormed() && [...text].length <= pinName.maxLength && NAME.test(text);
}

/** Largest numbers of `keep`, for clients too. */
export const mostKept = {
  Days: pin.properties.keep.properties.days.maximum,
  Revisions: pin.properties.keep.properties.revisions.maximum,
} as const;
