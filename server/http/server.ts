/** A listening HTTP server: hot reads first, koa for the rest. */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { closeServer, createDoor, type Listen, listenOn, serverOptions } from '../wire/index.ts';
import { createApp } from './app.ts';
import { awaitsContinue } from './body.ts';
import type { Services } from './context.ts';
import { Front } from './front.ts';
import { askerAt } from './read.ts';
import { traceRead } from './request-log.ts';

export interface CacheListen extends Listen {
  /** Cache that this listener serves, whatever the `Host`. */
  readonly cache?: string | undefined;
}

const NARINFO = /^(?:\/push)?\/([^/%]+)\.narinfo$/;
const NAR = /^(?:\/push)?\/nar\/([^/%]+)$/;

export class HttpServer {
  readonly #server: Server;
  readonly #listen: CacheListen;

  constructor(services: Services, listen: CacheListen) {
    const front = new Front({ caches: services.caches, urls: services.urls, bound: listen.cache });
    const app = createApp(services, front).callback();
    const handle = (request: IncomingMessage, response: ServerResponse) =>
      hotRead(services, front, request, response) ? undefined : app(request, response);
    this.#listen = listen;
    this.#server = createDoor({
      handle,
      logger: services.logger,
      options: serverOptions(services.timeouts),
      awaitsContinue: (request, response) => {
        awaitsContinue(request);
        return handle(request, response);
      },
    });
  }

  listen(): Promise<AddressInfo> {
    return listenOn(this.#server, this.#listen);
  }

  /** Stops accepting, lets requests finish for `graceMs`, then cuts what is left. */
  close(graceMs: number): Promise<void> {
    return closeServer(this.#server, graceMs);
  }
}

/** Answers narinfo and NAR reads with plain paths; false for everything else. */
function hotRead(services: Services, front: Front, request: IncomingMessage, response: ServerResponse): boolean {
  if (request.method !== 'GET' && request.method !== 'HEAD') return false;
  const traced = services.logger.isLevelEnabled('debug');
  const url = request.url ?? '';
  const { host } = request.headers;
  // The usual form of all, 41 characters, without a regular expression.
  if (
    url.length === 41 &&
    url.endsWith('.narinfo') &&
    url.charCodeAt(0) === 47 &&
    url.indexOf('/', 1) < 0 &&
    !url.includes('%')
  ) {
    const { cache, isNamed } = front.byHost(host);
    if (!isNamed) return false;
    if (traced) traceRead(services, 'narinfo', request, response);
    services.reader.narinfo(cache, url.slice(1, 33), 'reader', request, response);
    return true;
  }
  const query = url.indexOf('?');
  const target = front.resolve(host, query < 0 ? url : url.slice(0, query));
  if (!target.isNamed) return false;
  const hashPart = NARINFO.exec(target.path)?.[1];
  if (hashPart !== undefined) {
    if (traced) traceRead(services, 'narinfo', request, response);
    services.reader.narinfo(target.cache, hashPart, askerAt(target.path), request, response);
    return true;
  }
  const file = NAR.exec(target.path)?.[1];
  if (file === undefined) return false;
  if (traced) traceRead(services, 'nar', request, response);
  services.reader.object(target.cache, `nar/${file}`, 'nar', 'application/x-nix-nar', request, response);
  return true;
}
