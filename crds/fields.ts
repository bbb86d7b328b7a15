import { durationForms, durationPattern } from './duration.ts';
import { quantityForms, quantityPattern } from './quantity.ts';
import type { Schema } from './schema.ts';

// Fields that several kinds share. Each user spreads them and adds its own description and default.

/** The API group and version of every kind of ours. */
export const apiVersion = 'narwhal.dev/v1alpha1';

export const bytes = {
  'x-kubernetes-int-or-string': true,
  pattern: quantityPattern,
  maxLength: 32,
  // For an API server, which asks a number for no pattern.
  minimum: 0,
  allowed: quantityForms,
  bytes: true,
} as const satisfies Schema;

/** Hours or days. */
export const duration = {
  type: 'string',
  pattern: durationPattern,
  maxLength: 8,
  allowed: durationForms,
} as const satisfies Schema;

/** Name of another object in the same namespace. */
export const objectName = {
  type: 'string',
  minLength: 1,
  maxLength: 253,
  pattern: '^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$',
  allowed: 'lower-case letters, digits, dashes and dots, beginning and ending with a letter or digit',
} as const satisfies Schema;

export const dnsLabel = {
  type: 'string',
  minLength: 1,
  maxLength: 63,
  pattern: '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$',
  allowed: 'lower-case letters, digits and dashes, beginning and ending with a letter or digit',
} as const satisfies Schema;

export const hostname = {
  type: 'string',
  minLength: 1,
  maxLength: 253,
  pattern: '^(\\*\\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$',
  allowed: 'a host name in lower case, without scheme and port',
} as const satisfies Schema;

export const secretKey = {
  type: 'string',
  minLength: 1,
  maxLength: 253,
  pattern: '^[-._a-zA-Z0-9]+$',
  allowed: 'letters, digits, dashes, dots and underscores',
} as const satisfies Schema;

export const stringMap = {
  type: 'object',
  maxProperties: 64,
  additionalProperties: { type: 'string', maxLength: 4096 },
} as const satisfies Schema;

export const httpUrl = {
  type: 'string',
  maxLength: 512,
  pattern: '^https?://[^\\s/?#@]+(/[^\\s?#]*)?$',
  allowed: 'a URL that begins with http:// or https://, without user, query or fragment',
} as const satisfies Schema;

/** A public key as Nix prints it. 32 bytes are 43 base64 digits and one `=`. */
export const publicKey = {
  type: 'string',
  maxLength: 512,
  pattern: '^[^\\s:]+:[A-Za-z0-9+/]{43}=$',
  allowed: 'a public key in the form of Nix, name:base64',
} as const satisfies Schema;

export const sha256 = {
  type: 'string',
  minLength: 64,
  maxLength: 64,
  pattern: '^[0-9a-f]{64}$',
  allowed: '64 hex digits in lower case, as narwhal-server hash-token prints them',
  description: 'SHA-256 of the token. The manifest then holds nothing secret.',
} as const satisfies Schema;

export const time = {
  type: 'string',
  format: 'date-time',
  maxLength: 64,
  allowed: 'a time such as 2030-01-31T00:00:00Z',
} as const satisfies Schema;

export const expiresAt = {
  ...time,
  description: 'From this moment on the token is refused.',
} as const satisfies Schema;

export const tokenSecretRef = {
  type: 'object',
  description: 'Secret that holds the token itself.',
  required: ['name'],
  properties: {
    name: { ...objectName, description: 'Name of the Secret.' },
    key: { ...secretKey, default: 'token', description: 'Key inside the Secret.' },
  },
} as const satisfies Schema;

/** The standard conditions of Kubernetes. */
export const conditions = {
  type: 'array',
  maxItems: 16,
  'x-kubernetes-list-type': 'map',
  'x-kubernetes-list-map-keys': ['type'],
  description: 'What is true of this object now, in the standard form of Kubernetes.',
  items: {
    type: 'object',
    required: ['type', 'status', 'lastTransitionTime', 'reason', 'message'],
    properties: {
      type: { type: 'string', maxLength: 316, description: 'What the condition is about.' },
      status: { type: 'string', enum: ['True', 'False', 'Unknown'], description: 'Whether it holds.' },
      observedGeneration: {
        type: 'integer',
        format: 'int64',
        minimum: 0,
        description: 'Generation of the spec that this is about.',
      },
      lastTransitionTime: { ...time, description: 'When the status last changed.' },
      reason: { type: 'string', minLength: 1, maxLength: 1024, description: 'One word for programs.' },
      message: { type: 'string', maxLength: 32768, description: 'A sentence for people.' },
    },
  },
} as const satisfies Schema;

export const observedGeneration = {
  type: 'integer',
  format: 'int64',
  description: 'Generation of the spec that the rest of the status is about.',
} as const satisfies Schema;
