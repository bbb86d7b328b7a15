/** Types and reasons of the conditions of a BinaryCache. docs/troubleshooting.md says what to do about each. */

/** The sum of all: what the manifest asks for is there and works. */
export const READY = 'Ready';
/** At least one pod answers. */
export const AVAILABLE = 'Available';
/** Every pod has confirmed that it runs the present manifest: tokens that were revoked open nothing any more. */
export const CONFIG_CURRENT = 'ConfigCurrent';
/** Every Secret that the cache needs is there and can be used. */
export const KEYS_READY = 'KeysReady';
/** Every storage takes part as its mode says. */
export const STORAGES_READY = 'StoragesReady';
/** The cache answers under its public name. */
export const EXPOSED = 'Exposed';
/** The gateway leads to the cache by each of its tokens. Only there where it is not so. */
export const TOKENS_ROUTED = 'TokensRouted';
/** A storage is being emptied. Only there while it is. */
export const DRAINING = 'Draining';
/** nix would send the cache's token to the S3 service that reads are redirected to. Only there while it is so. */
export const TOKEN_FOLLOWS_REDIRECTS = 'TokenFollowsRedirects';
/** Bytes of some objects are gone, so that their paths are not served. Only there while it is so. */
export const OBJECTS_LOST = 'ObjectsLost';
/** Something has waited for a day for what it refers to. Only there while it is so. */
export const CLOSURES_COMPLETE = 'ClosuresComplete';
/** Every path that the manifest pins is here. Only there when it pins any. */
export const PINS_PRESENT = 'PinsPresent';
/** A run of the garbage collection waits for somebody. Only there while it does. */
export const COLLECTION_HELD = 'CollectionHeld';
/** What is stored is below the mark of the quota at which people are warned. Only there with a quota. */
export const WITHIN_QUOTA = 'WithinQuota';
/** The operator does nothing for this cache, because an annotation says so. Only there while it is. */
export const PAUSED = 'Paused';
/** The ServiceMonitor that was asked for is there. Only there when asked for. */
export const MONITORED = 'Monitored';

/** Nothing is wrong. */
export const OK = 'Ready';
/** The annotation narwhal.dev/paused is "true". */
export const IS_PAUSED = 'Paused';
/** The manifest asks for something that this version cannot do yet. */
export const UNSUPPORTED = 'Unsupported';
/** The pods may not run as the ServiceAccount that the manifest names. */
export const SERVICE_ACCOUNT_NOT_ALLOWED = 'ServiceAccountNotAllowed';
/** An object of the name that is needed exists and belongs to someone else. */
export const NAME_CONFLICT = 'NameConflict';
/** A Secret, or a key in it, is missing. */
export const SECRET_MISSING = 'SecretMissing';
/** A Secret holds something else than it should. */
export const SECRET_INVALID = 'SecretInvalid';
/** The API server refused something that the operator asked for. */
export const APPLY_FAILED = 'ApplyFailed';
/** Something else undoes what the operator does, so that it does it ever more seldom. */
export const CONTESTED = 'Contested';
/** The installed CRD is older than the operator. */
export const CRD_OUTDATED = 'CrdOutdated';
/** The servers refuse the manifest and go on with the last good one. */
export const CONFIG_REJECTED = 'ConfigRejected';
/** A look at the cache did not end in time; what else is said of it is of before. */
export const RECONCILE_TIMEOUT = 'ReconcileTimeout';
/** Something that must end by itself is under way: a roll of the pods, a deletion. */
export const PROGRESSING = 'Progressing';
/** A pod cannot start or does not stay up. */
export const POD_FAILING = 'PodFailing';
/** The cache is scaled to zero. */
export const NO_REPLICAS = 'NoReplicas';
/** No server has told its state yet. */
export const UNKNOWN = 'Unknown';
/** A storage cannot be used now. */
export const STORAGE_UNAVAILABLE = 'StorageUnavailable';
/** A storage has no room. Where another has, only StoragesReady says so. */
export const STORAGE_FULL = 'StorageFull';
/** The database of a server does not answer, or has no room. */
export const DATABASE_UNAVAILABLE = 'DatabaseUnavailable';
/** Draining stands still: nothing is lost, and nothing moves. */
export const DRAIN_PAUSED = 'DrainPaused';
/** The StorageClass of a volume does not let it grow. */
export const EXPANSION_NOT_ALLOWED = 'ExpansionNotAllowed';
/** A volume is growing. */
export const RESIZING = 'Resizing';
/** Another namespace has a cache of this name, and had it first. */
export const NAME_TAKEN = 'NameTaken';
/** Caches of this namespace may not have a public name. */
export const NAMESPACE_NOT_ALLOWED = 'NamespaceNotAllowed';
/** The namespace has as many public names as it may, those of caches that are gone among them. */
export const TOO_MANY_NAMES = 'TooManyNames';
/** Another namespace had a token first whose hash begins like that of a token of this cache. */
export const TOKEN_TAKEN = 'TokenTaken';
/** The gateway routes by as many tokens of the namespace as it may. */
export const TOO_MANY_TOKENS = 'TooManyTokens';
/** The gateway does not run the routing table with this cache yet. */
export const GATEWAY_PENDING = 'GatewayPending';
/** A host of the Ingress or HTTPRoute is not one that caches of this namespace may take. */
export const HOST_NOT_ALLOWED = 'HostNotAllowed';
/** An annotation of the Ingress is not one that caches may have. */
export const ANNOTATION_NOT_ALLOWED = 'AnnotationNotAllowed';
/** The kind of an object that was asked for is not known to this cluster. */
export const NOT_SERVED = 'NotServed';
/** Redirects lead to a host name of the cache itself. */
export const SAME_HOST = 'SameHost';
/** A storage is being emptied. */
export const MOVING = 'Moving';
/** Paths refer to others that are not in the cache. */
export const REFERENCES_MISSING = 'ReferencesMissing';
/** The quota is nearly used up. */
export const QUOTA_NEAR = 'QuotaNear';
/** The quota is used up: pushes are refused. */
export const QUOTA_REACHED = 'QuotaReached';
/** Bytes of objects are gone, cut short or changed. */
export const BYTES_MISSING = 'BytesMissing';
/** A path that the manifest pins is not here. */
export const PIN_MISSING = 'PinMissing';
/** A run of the garbage collection would remove so much, or comes so oddly, that somebody should look at it first. */
export const CONFIRMATION_NEEDED = 'ConfirmationNeeded';
