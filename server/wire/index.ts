/** HTTP without caches: what the doors of a server and the gateway in front of it have in common. */
export {
  cacheOfHost,
  cachePath,
  decodePath,
  hostnameOf,
  inOrder,
  type OwnHost,
  ownHostOf,
  rawPath,
  rawQuery,
} from './address.ts';
export {
  type Answer,
  foreignCoding,
  hasBody,
  isForeignlyCoded,
  linger,
  outlive,
  sendMiss,
  sendText,
  sendWhole,
} from './answer.ts';
export { credentialOf, tokenOf } from './credentials.ts';
export { createDoor, type DoorInit } from './door.ts';
export { AddressError } from './errors.ts';
export { closeServer, defaultTimeouts, serverOptions, type Timeouts } from './http-server.ts';
export { hostPort, type Listen, listenOn } from './listen.ts';
export { Networks, plainAddress } from './networks.ts';
export { OPENAPI_PATH, openapi } from './openapi.ts';
export { type OwnUrl, parseAlias, parseApiUrl } from './own-url.ts';
export { ClientGoneError, movingTo, placeFor, untilClosed } from './place.ts';
export { clientNetwork, type Scheme, TrustedProxies } from './proxies.ts';
export { requestIdOf } from './request-id.ts';
export { NO_ACCESS, type StrangerAnswer, sendToStranger, strangerAnswer } from './strangers.ts';
