/**
 * What a PUT of the nix protocol is answered with. nix up to 2.33.1 cannot repeat a PUT: 2.8 hangs on anything that asks
 * for a repetition (202, 408, 429, 5xx, a lost connection), 2.26 ends; redirects of a PUT work from 2.28.4 on only.
 */
export interface PutAnswer {
  readonly answer: number | 'connection closed';
  /** Names of the situations that are answered so; none: no route ever does. */
  readonly given: readonly string[];
  readonly reason: string;
}

/** The 14 answers that nix was tried with; the two that repeat a status stand together. */
export const TRIED: readonly PutAnswer[] = [
  {
    answer: 200,
    given: [
      'a NAR',
      'the same NAR again',
      'a narinfo',
      'the same narinfo again',
      'a listing',
      'a log without a byte',
      'nix-cache-info of this store folder',
      'a NAR whose storage comes back in time',
    ],
    reason: 'the one form of success: the Cachix client takes nothing else either',
  },
  { answer: 204, given: [], reason: 'success is always 200' },
  { answer: 202, given: [], reason: 'a push is acknowledged when it is durable and visible, never before' },
  { answer: 304, given: [], reason: 'what is there already is 200' },
  {
    answer: 409,
    given: [
      'a narinfo of a published path with another NarHash',
      'nix-cache-info of another store folder',
      'a NAR for a cache whose signing key is lost',
    ],
    reason: 'it contradicts what is published or what the cache is; the same again fails again',
  },
  { answer: 412, given: [], reason: 'no condition of a request is looked at when it writes' },
  {
    answer: 413,
    given: [
      'a NAR larger than the limit',
      'a NAR that decompresses to more than the limit',
      'a narinfo larger than the limit',
      'a NAR for which no storage has room',
    ],
    reason: 'too large, or the cache is full: final, where a 507 would be repeated',
  },
  {
    answer: 401,
    given: ['no token', 'an unknown token', 'a token without Write', 'an expired token'],
    reason: 'whatever is wrong with the credential, before the body',
  },
  { answer: 403, given: [], reason: 'nix treats it as 401; one status for all that is wrong with a credential' },
  {
    answer: 500,
    given: [],
    reason: 'only a fault of the program would be answered so; what may pass is waited for inside the server',
  },
  {
    answer: 503,
    given: ['a NAR whose storage stays away'],
    reason: 'only after the wait of --transient-retry (120 s)',
  },
  { answer: 307, given: [], reason: 'bytes of a PUT are taken where they are sent' },
  { answer: 302, given: [], reason: 'bytes of a PUT are taken where they are sent' },
  {
    answer: 'connection closed',
    given: ['a body that stops coming'],
    reason: 'after --idle-timeout (60 s) nobody is there to hear an answer',
  },
];

/** Answers that were not tried, all final for nix: the text is shown and the push ends. */
export const OTHERS: readonly PutAnswer[] = [
  {
    answer: 400,
    given: [
      'a NAR whose bytes have another hash than its name',
      'a NAR that is damaged',
      'a narinfo before its NAR',
      'a narinfo that cannot be read',
    ],
    reason: 'the request is wrong and the text says where',
  },
  { answer: 404, given: ['an address that nothing belongs to'], reason: 'nix has no such request' },
  { answer: 405, given: ['the pull URL'], reason: 'the text has the push URL' },
  {
    answer: 415,
    given: ['an unknown Content-Encoding', 'a NAR in no known compression'],
    reason: 'nothing here decodes it',
  },
  { answer: 408, given: [], reason: 'nix repeats it' },
  { answer: 425, given: [], reason: 'nothing is too early' },
  { answer: 429, given: [], reason: 'pushes are never held back by an answer; nix waits a minute, or hangs' },
];
