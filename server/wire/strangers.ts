/**
 * What somebody hears who has no access at an address inside a cache: the same for a private cache and for one that does
 * not exist, so that nobody learns which there are. Servers and the gateway answer with this alone.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type Answer, sendText, type WholeAnswer } from './answer.ts';

/** A request inside a cache. */
export interface StrangeRequest {
  readonly method: string;
  /** Inside the cache: decoded, without a query. */
  readonly path: string;
  /** Whether the address is below `/api/v1/cache/<cache>`. */
  readonly isApi: boolean;
  /** Whether it came with a credential: none that the cache knows. */
  readonly hasCredential: boolean;
}

export type StrangerAnswer = Answer | WholeAnswer;

/** For who has no credential, one that is unknown, and one of another cache alike. */
export const NO_ACCESS: Answer = {
  status: 401,
  text: 'no such cache, or no access to it without a token that it knows',
};

const METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'PUT', 'POST']);
const CACHE_INFO = /^(?:\/push)?\/nix-cache-info$/;
/** Reads of the Cachix API, and lists of what a cache has. All others are nix's, which ends a build on a 401. */
const API_READ = /^\/(?:$|narurl\/|(?:pin|gc|explain|block|paths|path|stats)(?:\/|$))/;
/** What can be removed by the API. */
const API_DELETE = /^\/(?:pin|path|block)\/./;
/** `nix-cache-info` with the priority that a manifest has by default, whatever that of the cache. */
const EMPTY_CACHE: WholeAnswer = {
  status: 200,
  type: 'text/x-nix-cache-info; charset=utf-8',
  body: Buffer.from('StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 41\n'),
};

/**
 * Pure. Without a credential a cache looks empty to nix, and `nix-cache-info` is there: nix would switch the substituter
 * off otherwise. Who does send a credential learns that it is wrong.
 */
export function strangerAnswer({ method, path, isApi, hasCredential }: StrangeRequest): StrangerAnswer {
  const isRemoval = method === 'DELETE' && isApi && API_DELETE.test(path);
  if (!METHODS.has(method) && !isRemoval) return { status: 405, text: `${method} is not possible here` };
  const isRead = method === 'GET' || method === 'HEAD';
  if (hasCredential || !isRead || (isApi && API_READ.test(path))) return NO_ACCESS;
  return CACHE_INFO.test(path) ? EMPTY_CACHE : { status: 404, text: 'not found' };
}

export function sendToStranger(request: IncomingMessage, response: ServerResponse, answer: StrangerAnswer): void {
  if (!('body' in answer)) {
    sendText(request, response, answer);
    return;
  }
  const headers = { 'Content-Type': answer.type, 'Content-Length': answer.body.length };
  response.writeHead(answer.status, headers);
  response.end(request.method === 'HEAD' ? undefined : answer.body);
}
