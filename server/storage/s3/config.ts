/** What a manifest says of a bucket, with Secrets resolved. */

export interface S3Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
}

export interface S3Config {
  readonly bucket: string;
  readonly region: string;
  /** Where this server reaches the service; undefined: AWS. */
  readonly endpoint: string | undefined;
  /** Where clients reach it; undefined: `endpoint`. */
  readonly publicEndpoint: string | undefined;
  /** Folder inside the bucket, without slashes at its ends; empty: the whole bucket. */
  readonly prefix: string;
  readonly forcePathStyle: boolean;
  /** Undefined: the SDK's default chain (environment, files, web identity, instance roles). */
  readonly credentials: S3Credentials | undefined;
  readonly reads: 'Redirect' | 'Proxy';
  readonly uploads: 'Direct' | 'Proxy';
}

/** Where the bytes are, in words for rows and texts. Two configurations with the same place hold the same bytes. */
export function placeOf(config: S3Config): string {
  const folder = config.prefix === '' ? '' : `/${config.prefix}`;
  return `s3://${config.bucket}${folder}${config.endpoint === undefined ? '' : ` at ${config.endpoint}`}`;
}
