/** The command line of the operator: its flags, their environment variables, and how errors end it. */
import { readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import process from 'node:process';
import { Command, Option } from 'commander';
import type { HostRule } from './cache/index.ts';
import {
  apiUrl,
  count,
  DAY_MS,
  days,
  hostRules,
  listenAddress,
  names,
  seconds,
  variable,
  wholeNumber,
  wordsOf,
} from './flags.ts';
import { MOST_NAMES, MOST_TOKENS } from './gateway/index.ts';
import type { OperatorOptions } from './options.ts';
import { PlanError, printPlan } from './plan.ts';
import { runOperator } from './run.ts';
import { ApiError, isClusterKnown } from './runtime/index.ts';

interface Flags {
  image?: string;
  apiUrl?: string;
  namespace: string;
  identity: string;
  watchNamespaces: string[];
  gatewayNamespaces: string[];
  gatewaySelector: string;
  names: string;
  routes: string;
  namesPerNamespace: number;
  tokensPerNamespace: number;
  releaseNamesAfter?: number;
  releaseTokensAfter: number;
  trustedProxies: string[];
  cacheHosts?: HostRule[];
  ingressAnnotations?: string[];
  lease: string;
  leaseDuration: number;
  renewDeadline: number;
  leaseRetry: number;
  listen: OperatorOptions['listen'];
  workers: number;
  resync: number;
  reconcileTimeout: number;
  poll: number;
  statusInterval: number;
  numbersInterval: number;
  secretsInterval: number;
  tokensInterval: number;
  tokensRate: number;
  serverTimeout: number;
  logLevel: string;
}

/** Runs one command and sets the exit code. */
export async function run(argv: readonly string[], env: NodeJS.ProcessEnv): Promise<void> {
  const program = new Command('narwhal-operator')
    .description('Makes Nix binary caches out of the BinaryCache resources of a Kubernetes cluster.')
    .addHelpText('after', '\nExit codes: 0 all is well, 1 it failed; `plan` ends with 2 where something is to be done.')
    .showHelpAfterError('(narwhal-operator --help lists what there is)');
  program.addCommand(
    runCommand((options) => runOperator(options, env)),
    { isDefault: true },
  );
  program.addCommand(planCommand());
  const words = ['help', ...program.commands.map((command) => command.name())];
  const [, , word = '-'] = argv;
  // The default command would take a misspelt one for an argument too many.
  if (!word.startsWith('-') && !words.includes(word)) program.error(`error: unknown command '${word}'`);
  // `| head` has read enough.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    process.exit();
  });
  try {
    await program.parseAsync([...argv]);
  } catch (error) {
    // What a person can mend is one line; the rest is our fault and comes with its stack.
    console.error(isPlain(error) ? `narwhal-operator: ${error.message}` : error);
    process.exitCode = 1;
  }
}

/** Files that cannot be read, clusters that cannot be reached or that refuse, and plans that cannot be made. */
function isPlain(error: unknown): error is Error {
  return error instanceof Error && ('syscall' in error || error instanceof ApiError || error instanceof PlanError);
}

/** @param start what is done with the options; its result is the exit code */
export function runCommand(start: (options: OperatorOptions) => Promise<number>): Command {
  const command = new Command('run').description('look after the caches (the default command)');
  for (const option of sharedOptions()) command.addOption(option);
  return command
    .addOption(variable('--namespace <name>', 'where the operator and the gateway run', 'NARWHAL_NAMESPACE', 'default'))
    .addOption(variable('--identity <name>', 'of this process among its replicas', 'NARWHAL_IDENTITY', hostname()))
    .addOption(
      names('--watch-namespaces <names>', 'whose caches are looked after. Default: all', 'NARWHAL_WATCH_NAMESPACES'),
    )
    .addOption(
      names(
        '--gateway-namespaces <names>',
        'whose caches may have a public name. Default: all',
        'NARWHAL_GATEWAY_NAMESPACES',
      ),
    )
    .addOption(
      variable(
        '--gateway-selector <labels>',
        'of the pods of the gateway',
        'NARWHAL_GATEWAY_SELECTOR',
        'app.kubernetes.io/name=narwhal,app.kubernetes.io/component=gateway',
      ),
    )
    .addOption(
      variable(
        '--names <configmap>',
        'first word of the ConfigMaps, one a namespace, that record whose public names and tokens are',
        'NARWHAL_NAMES',
        'narwhal-names',
      ),
    )
    .addOption(
      variable(
        '--routes <configmap>',
        'with the table of the gateway, and first word of those with the caches of a namespace',
        'NARWHAL_ROUTES',
        'narwhal-routes',
      ),
    )
    .addOption(
      count(
        '--names-per-namespace <count>',
        'public names that a namespace may have, those of caches that are gone among them',
        'NARWHAL_NAMES_PER_NAMESPACE',
        1000,
        MOST_NAMES,
      ),
    )
    .addOption(
      count(
        '--tokens-per-namespace <count>',
        'tokens of a namespace that the gateway routes by',
        'NARWHAL_TOKENS_PER_NAMESPACE',
        10_000,
        MOST_TOKENS,
      ),
    )
    .addOption(
      days(
        '--release-names-after <days>',
        'after which a public name that no cache has is free for others',
        'NARWHAL_RELEASE_NAMES_AFTER',
      ).default(undefined, 'never'),
    )
    .addOption(
      days(
        '--release-tokens-after <days>',
        'after which the digits of a token that no cache has are free for others',
        'NARWHAL_RELEASE_TOKENS_AFTER',
      ).default(1),
    )
    .addOption(variable('--lease <name>', 'by which one replica leads', 'NARWHAL_LEASE', 'narwhal-operator'))
    .addOption(
      seconds('--lease-duration <seconds>', 'after which a silent leader is replaced', 'NARWHAL_LEASE_DURATION', 15),
    )
    .addOption(
      seconds('--renew-deadline <seconds>', 'after which a leader gives up by itself', 'NARWHAL_RENEW_DEADLINE', 10),
    )
    .addOption(seconds('--lease-retry <seconds>', 'between two looks at the lease', 'NARWHAL_LEASE_RETRY', 2))
    .addOption(
      variable(
        '--listen <address>',
        'of /livez, /readyz and /metrics, as :port or host:port',
        'NARWHAL_OPERATOR_LISTEN',
        ':9090',
      )
        .argParser(listenAddress)
        .default(listenAddress(':9090'), ':9090'),
    )
    .addOption(
      new Option('--workers <count>', 'caches that are looked at side by side')
        .env('NARWHAL_WORKERS')
        .argParser(wholeNumber)
        .default(4),
    )
    .addOption(seconds('--resync <seconds>', 'between two looks at a cache at most', 'NARWHAL_RESYNC', 600))
    .addOption(
      seconds(
        '--reconcile-timeout <seconds>',
        'after which a look at a cache that does not end is given up, and begun anew',
        'NARWHAL_RECONCILE_TIMEOUT',
        300,
      ),
    )
    .addOption(seconds('--poll <seconds>', 'between two looks while something is under way', 'NARWHAL_POLL', 3))
    .addOption(
      seconds('--status-interval <seconds>', 'between two questions to well caches', 'NARWHAL_STATUS_INTERVAL', 60),
    )
    .addOption(
      seconds(
        '--numbers-interval <seconds>',
        'between two writes of a status whose numbers alone differ',
        'NARWHAL_NUMBERS_INTERVAL',
        15,
      ),
    )
    .addOption(
      seconds(
        '--secrets-interval <seconds>',
        'after which a known Secret is read again',
        'NARWHAL_SECRETS_INTERVAL',
        300,
      ),
    )
    .addOption(
      seconds(
        '--tokens-interval <seconds>',
        'in which the Secret of each token is looked at, unless they are too many for the rate',
        'NARWHAL_TOKENS_INTERVAL',
        20,
      ),
    )
    .addOption(count('--tokens-rate <count>', 'of these Secrets in a second at most', 'NARWHAL_TOKENS_RATE', 20, 1000))
    .addOption(seconds('--server-timeout <seconds>', 'for the answer of a pod', 'NARWHAL_SERVER_TIMEOUT', 3))
    .addOption(
      new Option('--log-level <level>', 'least important lines to log')
        .env('NARWHAL_LOG_LEVEL')
        .choices(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'])
        .default('info'),
    )
    .addHelpText(
      'after',
      '\nThe API server is found by KUBECONFIG, ~/.kube/config, or the ServiceAccount of the pod.\n\nExit codes: 0 it was told to end, 1 it could not go on, or another replica may lead.',
    )
    .action(async (flags: Flags) => {
      if (flags.renewDeadline >= flags.leaseDuration)
        command.error('error: --renew-deadline must be less than --lease-duration: two replicas would lead');
      process.exitCode = await start(optionsOf(flags));
    });
}

function planCommand(): Command {
  const command = new Command('plan')
    .description(
      'print what would be applied for the caches of a manifest, and why pods would restart; changes nothing',
    )
    .requiredOption('-f, --file <path>', 'manifest with BinaryCache resources')
    .option('-n, --namespace <name>', 'of resources that name none', 'default')
    .option('--kubeconfig <path>', 'of the cluster to compare with. Default: as kubectl finds it')
    .option('--offline', 'compare with nothing: everything is new', false);
  for (const option of sharedOptions()) command.addOption(option);
  return command
    .addHelpText(
      'after',
      '\nThe cluster is found by KUBECONFIG or ~/.kube/config; where there is neither it plans offline, and says so.\n\nExit codes: 0 nothing is to be done, 2 something is, 1 no plan could be made.',
    )
    .action(async ({ file, ...flags }: PlanFlags) => {
      const isCluster = flags.kubeconfig !== undefined || isClusterKnown();
      if (!flags.offline && !isCluster)
        console.error(
          'narwhal-operator: there is no kubeconfig, so this is a plan without a cluster: everything is new',
        );
      const init = { ...flags, offline: flags.offline || !isCluster, file, text: await readFile(file, 'utf8') };
      const { changes, notes } = await printPlan(init, process.stdout);
      for (const note of notes) console.error(`narwhal-operator: ${note}`);
      // So that a script can tell it from a failure, which is 1.
      if (changes > 0) process.exitCode = 2;
    });
}

interface PlanFlags {
  file: string;
  namespace: string;
  kubeconfig?: string;
  offline: boolean;
  image?: string;
  apiUrl?: string;
  trustedProxies: string[];
  cacheHosts?: HostRule[];
  ingressAnnotations?: string[];
}

/** What the objects of a cache follow from. */
function sharedOptions(): Option[] {
  return [
    new Option('--image <image>', 'of the servers, where a cache names none').env('NARWHAL_IMAGE'),
    new Option('--api-url <url>', 'of the gateway; without it caches are found by their Services only')
      .env('NARWHAL_API_URL')
      .argParser(apiUrl),
    names(
      '--trusted-proxies <networks>',
      'addresses and networks whose X-Forwarded-* headers the servers believe',
      'NARWHAL_TRUSTED_PROXIES',
    ),
    new Option(
      '--cache-hosts <rules>',
      'hosts that caches may take by ingress and httpRoute, as namespace=host with commas between them; namespace may be *, host *.example.org or *, and {namespace} in it is the name of the namespace (default: none; a plan without it takes all)',
    )
      .env('NARWHAL_CACHE_HOSTS')
      .argParser(hostRules),
    new Option(
      '--ingress-annotations <names>',
      'annotations that Ingresses of caches may have, with commas between them: name or prefix*, and =* behind it where the value may be any text and not just a word (default: none; a plan without --cache-hosts takes all)',
    )
      .env('NARWHAL_INGRESS_ANNOTATIONS')
      .argParser(wordsOf),
  ];
}

function optionsOf(flags: Flags): OperatorOptions {
  const { image = 'narwhal:latest', namespace, identity, watchNamespaces, gatewayNamespaces, gatewaySelector } = flags;
  return {
    image,
    apiUrl: flags.apiUrl,
    namespace,
    identity,
    watchNamespaces,
    gatewayNamespaces,
    gatewaySelector,
    namesConfigMap: flags.names,
    routesConfigMap: flags.routes,
    mostNames: flags.namesPerNamespace,
    mostTokens: flags.tokensPerNamespace,
    releaseNamesMs: flags.releaseNamesAfter === undefined ? undefined : flags.releaseNamesAfter * DAY_MS,
    releaseTokensMs: flags.releaseTokensAfter * DAY_MS,
    trustedProxies: flags.trustedProxies,
    cacheHosts: flags.cacheHosts ?? [],
    ingressAnnotations: flags.ingressAnnotations ?? [],
    lease: {
      name: flags.lease,
      leaseMs: flags.leaseDuration * 1000,
      renewMs: flags.renewDeadline * 1000,
      retryMs: flags.leaseRetry * 1000,
    },
    listen: flags.listen,
    workers: flags.workers,
    resyncMs: flags.resync * 1000,
    reconcileTimeoutMs: flags.reconcileTimeout * 1000,
    pollMs: flags.poll * 1000,
    steadyMs: flags.statusInterval * 1000,
    numbersMs: flags.numbersInterval * 1000,
    secretsMs: flags.secretsInterval * 1000,
    tokensMs: flags.tokensInterval * 1000,
    tokensPerSecond: flags.tokensRate,
    serverTimeoutMs: flags.serverTimeout * 1000,
    logLevel: flags.logLevel,
  };
}
