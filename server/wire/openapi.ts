/** The description of the API, as a server and a gateway hand it out. It names no cache, and needs no token. */
import { readFileSync } from 'node:fs';
import type { WholeAnswer } from './answer.ts';

export const OPENAPI_PATH = '/api/v1/openapi.yaml';

let known: WholeAnswer | undefined;

/** Read when it is asked for first: most programs are not. */
export function openapi(): WholeAnswer {
  // It lies beside the doors that it tells of; a build keeps the distance.
  known ??= {
    status: 200,
    type: 'text/yaml; charset=utf-8',
    body: readFileSync(new URL('../http/openapi.yaml', import.meta.url)),
  };
  return known;
}
