/** A client of an API server that sends exactly what a test says: no retries, no cache, no knowledge of kinds. */
import type { IncomingMessage } from 'node:http';
import https from 'node:https';
import { text } from 'node:stream/consumers';
import type { Access } from './kubeconfig.ts';

export interface ApiRequest {
  readonly method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** Sent as JSON. */
  readonly body?: unknown;
  /** The media type of the body, which says what a PATCH means. */
  readonly type?: string;
}

/** What API servers answer: an object of Kubernetes, of which a Status says what was wrong. */
export interface ApiObject {
  readonly kind?: string;
  readonly metadata?: Readonly<Record<string, unknown>>;
  readonly message?: string;
  readonly reason?: string;
  readonly [field: string]: unknown;
}

export interface ApiAnswer {
  readonly status: number;
  readonly body: ApiObject;
}

export class KubernetesApi {
  readonly #access: Access;
  readonly #agent: https.Agent;

  constructor(access: Access) {
    this.#access = access;
    const { user, ca } = access;
    this.#agent = new https.Agent({ keepAlive: true, ca, ...('cert' in user ? user : {}) });
  }

  /** Any answer, whatever its status. @param path from the root on, as in `/api/v1/namespaces` */
  async request(
    path: string,
    { method = 'GET', body, type = 'application/json' }: ApiRequest = {},
  ): Promise<ApiAnswer> {
    const { server, user } = this.#access;
    const request = https.request(new URL(path, server), {
      method,
      agent: this.#agent,
      headers: {
        accept: 'application/json',
        ...(body === undefined ? {} : { 'content-type': type }),
        ...('token' in user ? { authorization: `Bearer ${user.token}` } : {}),
      },
    });
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    request.on('error', reject).on('response', resolve);
    request.end(body === undefined ? undefined : JSON.stringify(body));
    const response = await promise;
    const content = await text(response);
    const isJson = response.headers['content-type'] === 'application/json' && content !== '';
    return { status: response.statusCode ?? 0, body: isJson ? JSON.parse(content) : { message: content } };
  }

  /** The object of a good answer; throws what the server says otherwise. */
  async expect(path: string, request: ApiRequest = {}): Promise<ApiObject> {
    const { status, body } = await this.request(path, request);
    if (status >= 200 && status < 300) return body;
    throw new Error(`${request.method ?? 'GET'} ${path} is answered with ${status}: ${body.message ?? ''}`);
  }

  /** Ends the connections that are kept. */
  close(): void {
    this.#agent.destroy();
  }
}
