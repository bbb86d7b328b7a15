export type { AgentSpec, AgentStatus } from './agent.ts';
export type {
  BinaryCacheSpec,
  DatabaseSpec,
  Permission,
  SigningSpec,
  TokenSpec,
  UpstreamSpec,
} from './binary-cache.ts';
export { mostTokens } from './binary-cache.ts';
export type { BinaryCacheStatus } from './binary-cache-status.ts';
export { schemaHash } from './crd.ts';
export { withoutDefaults } from './defaults.ts';
export { parseDuration } from './duration.ts';
export { apiVersion } from './fields.ts';
export {
  type CacheRoute,
  type GatewayStatus,
  hashOfShards,
  hashOfText,
  headKey,
  parseRoutingHead,
  parseRoutingShard,
  parseRoutingTable,
  type RoutingHead,
  type RoutingShard,
  type RoutingTable,
  RoutingTableError,
  type RunningRoutes,
  routesKey,
  shardLabel,
  shardName,
  tokenDigits,
} from './gateway.ts';
export { hostUrls } from './hosts.ts';
export { type Kind, kinds } from './kinds.ts';
export type { LimitsSpec } from './limits.ts';
export {
  type Agent,
  type BinaryCache,
  type Documents,
  formatManifestError,
  type Loaded,
  type LoadOptions,
  loadManifests,
  type ManifestSource,
  type Workspace,
} from './manifest.ts';
export type { Metadata } from './metadata.ts';
export type { ManifestError, Origin } from './origin.ts';
export { formatPath, type Path, without } from './path.ts';
export { isPinName, mostKept, type PinSpec } from './pin.ts';
export { parseQuantity, QuantityError } from './quantity.ts';
export { redirectHost, redirectTrouble } from './redirects.ts';
export { roundBytes } from './round-bytes.ts';
export {
  connectionKeys,
  hasConnection,
  readSecretValue,
  readValueOf,
  resolveSecret,
  resolveWholeSecret,
  Secret,
  SecretError,
  type SecretErrorCode,
  type SecretRef,
  type SecretSources,
} from './secret.ts';
export {
  certificatesValue,
  rootKeyValue,
  textValue,
  tokenValue,
  ValueError,
  wordValue,
} from './secret-value.ts';
export type {
  CacheStatus,
  CollectionStatus,
  ConfigFile,
  PinsStatus,
  ScrubStatus,
  ServerStatus,
  StoragePhase,
  StorageStatus,
  UsageStatus,
  WaitingStatus,
} from './server-status.ts';
export type { LocalSpec, S3Spec, StorageSpec } from './storage.ts';
export { checkSupport, clusterOnly, processOnly, unsupported } from './support.ts';
export { generateToken, hashToken, isWholeToken } from './token.ts';
export type { WorkspaceSpec, WorkspaceStatus } from './workspace.ts';
