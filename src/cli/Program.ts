/**
 * The commands of the tool, and how they end.
 */
import * as Cause from "effect/Cause"
import * as Argument from "effect/cli/Argument"
import type * as CliError from "effect/cli/CliError"
import * as CliConfig from "effect/cli/CliConfig"
import * as CliOutput from "effect/cli/CliOutput"
import * as Command from "effect/cli/Command"
import * as Completions from "effect/cli/Completions"
import * as Flag from "effect/cli/Flag"
import * as GlobalFlag from "effect/cli/GlobalFlag"
import type { HelpDoc } from "effect/cli/HelpDoc"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import { PlatformError } from "effect/PlatformError"
import * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import type * as Stdio from "effect/Stdio"
import * as Terminal from "effect/Terminal"
import { version } from "../internal/version.ts"
import type { Transport } from "../transport/Transport.ts"
import type { Place } from "./CallsCommand.ts"
import { exitCodes, type Failure, sentenceOf, type Target, toJson, withPermission } from "./Failure.ts"
import { type Answer, dump, type Inquiry, interfaces, map, stats } from "./Inquiries.ts"
import { login, type LoginOptions } from "./Login.ts"
import { ping } from "./Ping.ts"
import { capabilities, harmless, paint, writeLine } from "./Screen.ts"
import { descriptorsOf, makeCompletions } from "./ShellCompletions.ts"
import { parse as parseInspector, watch } from "./WatchCommand.ts"

// ----------------------------------------------------------------------------
// the commands
// ----------------------------------------------------------------------------

const Json = GlobalFlag.Setting("json")({
  flag: Flag.Boolean("json").pipe(
    Flag.withDescription("Print JSON, for programs; errors too"),
    Flag.withDefault(false)
  )
})

const binding = Argument.String("BINDING").pipe(
  Argument.withDescription('Where the server is, for instance "ncacn_ip_tcp:127.0.0.1[8765]"')
)

const units: { readonly [unit: string]: number } = { ms: 1, s: 1000, m: 60_000 }

/** A duration from that many milliseconds on. */
const duration = (name: string, least: number) =>
  Flag.String(name).pipe(
    Flag.withMetavar("DURATION"),
    Flag.filterMap(
      (text) => {
        const [, value, unit] = /^(\d{1,9})(ms|s|m)$/.exec(text === "0" ? "0s" : text) ?? []
        const millis = value === undefined ? NaN : Number(value) * units[unit!]!
        return millis >= least ? Option.some(Duration.millis(millis)) : Option.none()
      },
      (text) => `Expected a duration like 500ms, 2s or 1m, got ${JSON.stringify(text)}`
    )
  )

const Timeout = GlobalFlag.Setting("timeout")({
  flag: duration("timeout", 1).pipe(
    Flag.withDescription("How long connecting and each call may take: 500ms, 2s or 1m; by default 10s and 30s"),
    Flag.optional
  )
})

const text = (name: string, metavar: string, description: string) =>
  GlobalFlag.Setting(name)({
    flag: Flag.String(name).pipe(Flag.withMetavar(metavar), Flag.withDescription(description), Flag.optional)
  })

const User = text("user", "NAME", "Log in as this user; a user like alice@corp.example needs no domain")
const Domain = text("domain", "NAME", "The domain of the user, or the Kerberos realm")
const PasswordFile = text("password-file", "PATH", "The file with the password; without it a person is asked")
const Kdc = text(
  "kdc",
  "BINDING",
  "The key distribution centre for Kerberos, for instance ncacn_ip_tcp:dc.corp.example"
)

const levels = ["connect", "packet", "integrity", "privacy"] as const
const Level = GlobalFlag.Setting("level")({
  flag: Flag.Literals("level", levels).pipe(
    Flag.withDescription("How strongly messages are protected; by default integrity"),
    Flag.optional
  )
})

const providers = ["negotiate", "ntlm", "kerberos"] as const
const Provider = GlobalFlag.Setting("provider")({
  flag: Flag.Literals("provider", providers).pipe(
    Flag.withDescription("The security provider; by default negotiate"),
    Flag.optional
  )
})

/** The options of a login, which every command takes. */
const loginFlags = [User, Domain, PasswordFile, Level, Provider, Kdc] as const

const loginOptions = Effect.gen(function* () {
  const options: LoginOptions = {
    user: Option.getOrUndefined(yield* User),
    domain: Option.getOrUndefined(yield* Domain),
    "password-file": Option.getOrUndefined(yield* PasswordFile),
    level: Option.getOrUndefined(yield* Level),
    provider: Option.getOrUndefined(yield* Provider),
    kdc: Option.getOrUndefined(yield* Kdc)
  }
  return options
})

const report = (json: boolean) => ({ json: document, text }: Answer): Effect.Effect<void, PlatformError, Stdio.Stdio> =>
  json
    ? writeLine("stdout", JSON.stringify(document))
    : text === undefined
    ? Effect.void
    : Effect.flatMap(paint("stdout"), (paint) => writeLine("stdout", text(paint)))

const targetOf = (binding: string) =>
  Effect.gen(function* () {
    const target: Target = { binding, timeout: yield* Timeout, login: yield* login(yield* loginOptions) }
    return target
  })

const print = (binding: string, inquiry: (target: Target) => Inquiry) =>
  Effect.scoped(Effect.gen(function* () {
    yield* report(yield* Json)(yield* inquiry(yield* targetOf(binding)))
  }))

const dumpCommand = Command.make("dump", { binding }, ({ binding }) => print(binding, dump)).pipe(
  Command.withDescription("List what an endpoint mapper knows: interfaces, and where they are served"),
  Command.withExamples([{ command: 'callisto dump "ncacn_ip_tcp:127.0.0.1"' }])
)

const interfacesCommand = Command.make("interfaces", { binding }, ({ binding }) => print(binding, interfaces)).pipe(
  Command.withDescription("List the interfaces that a server offers"),
  Command.withExamples([{ command: 'callisto interfaces "ncacn_ip_tcp:127.0.0.1[8765]"' }])
)

const sought = Argument.String("UUID").pipe(
  Argument.withDescription("The interface: its UUID, or UUID/1.0 for servers that are compatible with that version"),
  Argument.filterMap(
    (text) => {
      const [, uuid, major, minor] =
        /^([\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12})(?:\/(\d{1,5})\.(\d{1,5}))?$/i.exec(text) ?? []
      if (uuid === undefined || Number(major ?? 0) > 0xffff || Number(minor ?? 0) > 0xffff) return Option.none()
      const version = major === undefined ? undefined : [Number(major), Number(minor)] as const
      return Option.some({ uuid: uuid.toLowerCase(), version })
    },
    (text) => `Expected a UUID, or a UUID with a version like /1.0, got ${JSON.stringify(text)}`
  )
)

const protocol = Flag.Literals("protocol", ["ncacn_ip_tcp", "ncalrpc"]).pipe(
  Flag.withDescription("The protocol sequence to reach it by; by default ncacn_ip_tcp"),
  Flag.withDefault("ncacn_ip_tcp" as const)
)

const mapCommand = Command.make(
  "map",
  { binding, sought, protocol },
  ({ binding, protocol, sought }) => print(binding, (target) => map(target, sought, protocol))
).pipe(
  Command.withDescription("Show where one interface is served, as an endpoint mapper tells"),
  Command.withExamples([
    { command: 'callisto map "ncacn_ip_tcp:127.0.0.1" 60a15ec5-4de8-11d7-a637-005056a20182/1.0' }
  ])
)

const statsCommand = Command.make("stats", { binding }, ({ binding }) => print(binding, stats)).pipe(
  Command.withDescription("Show how many calls and packets a server has received and sent"),
  Command.withExamples([{ command: 'callisto stats "ncacn_ip_tcp:127.0.0.1[8765]"' }])
)

const interval = duration("interval", 0).pipe(
  Flag.withDescription("Pause between rounds: 500ms, 2s, 1m or 0; by default 1s"),
  Flag.withDefault(Duration.seconds(1))
)

const count = Flag.Int("count").pipe(
  Flag.withMetavar("N"),
  Flag.withDescription("End after that many rounds; by default Ctrl-C ends it"),
  Flag.filter((count) => count > 0, (count) => `Expected at least one round, not ${count}`),
  Flag.optional
)

const pingCommand = Command.make(
  "ping",
  { binding, count, interval },
  ({ binding, ...options }) =>
    Effect.scoped(Effect.gen(function* () {
      yield* ping(yield* targetOf(binding), options, report(yield* Json))
    }))
).pipe(
  Command.withDescription("Measure how long connecting, binding and a call take"),
  Command.withExamples([
    { command: 'callisto ping "ncacn_ip_tcp:127.0.0.1[8765]"', description: "Until Ctrl-C, with a histogram" },
    { command: 'callisto ping --count 1 "ncalrpc:[files]"', description: "Whether a server answers, for scripts" },
    {
      command: 'callisto ping --user alice --domain CORP --level privacy "ncacn_ip_tcp:files.corp.example[49664]"',
      description: "Who it is, and how strongly calls are protected"
    }
  ])
)

// ----------------------------------------------------------------------------
// commands on descriptions, which load the importer
// ----------------------------------------------------------------------------

// Paths stay as they were written: those of effect/cli become absolute.
const file = (name: string, description: string) => Argument.String(name).pipe(Argument.withDescription(description))

const sourceHelp = "An IDL file, a TypeScript module of interfaces, or a built-in interface: epmapper, mgmt"

const include = Flag.String("include").pipe(
  Flag.withMetavar("DIR"),
  Flag.withDescription("A folder with imported IDL files, searched after that of the file; may be given several times"),
  Flag.atLeast(0)
)

const named = Flag.String("interface").pipe(
  Flag.withMetavar("NAME"),
  Flag.withDescription("The interface, by name or UUID, where the file has several"),
  Flag.optional
)

const flag = (name: string, description: string) =>
  Flag.Boolean(name).pipe(Flag.withDescription(description), Flag.withoutNegation, Flag.withDefault(false))

const importCommand = Command.make(
  "import",
  {
    file: file("FILE", "The IDL file"),
    include,
    out: Flag.String("out").pipe(
      Flag.withMetavar("FILE"),
      Flag.withDescription("Where the module goes, - for standard output; by default beside the file"),
      Flag.optional
    ),
    only: Flag.String("only").pipe(
      Flag.withMetavar("A,B"),
      Flag.withDescription("These operations alone, with the types that they need"),
      Flag.optional
    ),
    check: flag("check", "Write nothing, and end with 1 when an operation is left out or the file has errors")
  },
  ({ only, out, ...options }) =>
    Effect.gen(function* () {
      const { builtInNames, isModule, misused } = yield* Effect.promise(() => import("./Descriptions.ts"))
      if (isModule(options.file) || builtInNames.includes(options.file)) {
        return yield* Effect.fail(
          misused(
            `${options.file}: it is ${isModule(options.file) ? "a module" : "a built-in interface"} already.`,
            "callisto import takes an IDL file, and writes its module. callisto describe shows modules and built-in interfaces too."
          )
        )
      }
      const { importFile } = yield* Effect.promise(() => import("./ImportCommand.ts"))
      const names = Option.map(only, (text) => text.split(",").map((name) => name.trim()).filter((name) => name !== ""))
      const all = { ...options, out: Option.getOrUndefined(out), only: Option.getOrUndefined(names) }
      yield* importFile(all, yield* Json)
    })
).pipe(
  Command.withDescription("Write the TypeScript module of an IDL file, and say what is left out and why"),
  Command.withExamples([
    { command: "callisto import scmr.idl", description: "Writes scmr.ts" },
    {
      command: "callisto import scmr.idl --include ./idl --out src/scmr.ts --only ROpenSCManagerW,RCloseServiceHandle"
    },
    { command: "callisto import scmr.idl --check", description: "For CI" }
  ])
)

const describeCommand = Command.make(
  "describe",
  {
    source: file("FILE", sourceHelp),
    method: Argument.String("METHOD").pipe(
      Argument.withDescription("One method, by its name or number"),
      Argument.optional
    ),
    include,
    interface: named,
    template: flag("template", "Print a sample of the method's input alone, as JSON"),
    names: flag("names", "Print the names of the methods alone")
  },
  ({ method, ...options }) =>
    Effect.gen(function* () {
      const { describe } = yield* Effect.promise(() => import("./DescribeCommand.ts"))
      const json = yield* Json
      const all = {
        ...options,
        method: Option.getOrUndefined(method),
        interface: Option.getOrUndefined(options.interface)
      }
      yield* report(json)(yield* describe(all, json))
    })
).pipe(
  Command.withDescription(
    "List the interfaces and methods of an IDL file, or show one method and a sample of its input"
  ),
  Command.withExamples([
    { command: "callisto describe scmr.idl" },
    { command: "callisto describe scmr.idl ROpenSCManagerW" },
    { command: "callisto describe scmr.idl ROpenSCManagerW --template > input.json" }
  ])
)

const callCommand = Command.make(
  "call",
  {
    binding,
    source: file("FILE", sourceHelp),
    words: Argument.String("METHOD [JSON]").pipe(
      Argument.withDescription(
        "A method by its name or number, and its input: JSON, @FILE, or - for standard input. More methods may follow: they are called on the same connection, and take the context handles that those before have given"
      ),
      // What is missing of BINDING, FILE and METHOD is told by the command.
      Argument.variadic()
    ),
    include,
    interface: named,
    fail: flag("fail", "End with 1 when the result of a method is an error, such as ERROR_ACCESS_DENIED")
  },
  ({ binding, ...options }) =>
    Effect.scoped(Effect.gen(function* () {
      const { call } = yield* Effect.promise(() => import("./CallCommand.ts"))
      const all = { ...options, interface: Option.getOrUndefined(options.interface) }
      yield* call(yield* targetOf(binding), all, report(yield* Json))
    }))
).pipe(
  Command.withDescription("Call a method of any service by its IDL, with JSON"),
  Command.withExamples([
    { command: 'callisto call "ncacn_ip_tcp:127.0.0.1[8765]" mgmt is_server_listening' },
    {
      command:
        `callisto call "ncacn_ip_tcp:files.example[49154]" srvs.idl NetrServerGetInfo '{"ServerName": null, "Level": 101}'`
    }
  ])
)

const checkCommand = Command.make(
  "check",
  {
    old: file("OLD", "What clients know: an IDL file or a module"),
    now: file("NEW", "What the server will serve"),
    include
  },
  (options) =>
    Effect.gen(function* () {
      const { check } = yield* Effect.promise(() => import("./CheckCommand.ts"))
      const json = yield* Json
      yield* check(options, json, report(json))
    })
).pipe(
  Command.withDescription("Say which changes between two descriptions break old clients, and end with 1 if one does"),
  Command.withExamples([{ command: "callisto check old/files.idl files.idl" }, {
    command: "callisto check old.ts new.ts"
  }])
)

const demoCommand = Command.make(
  "demo",
  {
    folder: Argument.String("FOLDER").pipe(
      Argument.withDescription("The folder; by default the current one, or made-up files where it has few"),
      Argument.optional
    )
  },
  ({ folder }) =>
    Effect.gen(function* () {
      const { demo } = yield* Effect.promise(() => import("./DemoCommand.ts"))
      const json = yield* Json
      yield* demo(Option.getOrUndefined(folder), json, report(json))
    })
).pipe(
  Command.withDescription("Hash files by asynchronous calls, and draw when each call waited, ran and ended"),
  Command.withExamples([{ command: "callisto demo" }, { command: "callisto demo ~/Pictures" }])
)

// ----------------------------------------------------------------------------
// durable calls
// ----------------------------------------------------------------------------

const handle = Argument.String("HANDLE").pipe(
  Argument.withDescription("The handle of the call, or its first characters, six or more")
)

/** Where the calls are, which each command on them takes. */
const kept = {
  database: Flag.String("database").pipe(
    Flag.withMetavar("FILE|URL"),
    Flag.withDescription("The SQLite file with the calls, or postgres://USER@HOST:PORT/DATABASE")
  ),
  prefix: Flag.String("prefix").pipe(
    Flag.withMetavar("NAME"),
    Flag.withDescription("The prefix of the tables, where the program has one"),
    Flag.optional
  )
}

const onCalls = (
  { database, prefix }: { readonly database: string; readonly prefix: Option.Option<string> },
  use: (
    commands: typeof import("./CallsCommand.ts"),
    place: Place,
    show: ReturnType<typeof report>
  ) => Effect.Effect<void, Failure | PlatformError, Stdio.Stdio>
) =>
  Effect.gen(function* () {
    const commands = yield* Effect.promise(() => import("./CallsCommand.ts"))
    const { "password-file": passwordFile, user } = yield* loginOptions
    const place = { database, prefix: Option.getOrUndefined(prefix), timeout: yield* Timeout, user, passwordFile }
    yield* use(commands, place, report(yield* Json))
  })

const states = ["ready", "running", "handed-off", "ended", "finished"] as const

const callsListCommand = Command.make(
  "list",
  {
    ...kept,
    interface: Flag.String("interface").pipe(
      Flag.withMetavar("UUID"),
      Flag.withDescription("Only calls of this interface: its UUID, or UUID/1 for one major version"),
      Flag.filterMap(
        (text) => {
          const [, uuid, major] = /^([\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12})(?:\/(\d{1,5}))?$/i.exec(text) ?? []
          if (uuid === undefined) return Option.none()
          return Option.some(uuid.toLowerCase() + (major === undefined ? "" : ` ${Number(major)}`))
        },
        (text) => `Expected a UUID, or a UUID with a major version like /1, got ${JSON.stringify(text)}`
      ),
      Flag.optional
    ),
    state: Flag.Literals("state", states).pipe(Flag.withDescription("Only calls in this state"), Flag.optional),
    limit: Flag.Int("limit").pipe(
      Flag.withMetavar("N"),
      Flag.withDescription("How many calls at most, up to 10000; by default 50"),
      Flag.filter((limit) => limit > 0 && limit <= 10_000, (limit) => `Expected 1 to 10000 calls, not ${limit}`),
      Flag.withDefault(50)
    )
  },
  ({ limit, ...options }) =>
    onCalls(options, ({ list }, place, show) => {
      const state = Option.getOrUndefined(options.state)
      const wanted = {
        interface: Option.getOrUndefined(options.interface),
        state: state === "handed-off" ? "handed off" as const : state,
        limit
      }
      return list(place, wanted, show)
    })
).pipe(
  Command.withDescription("List durable calls, oldest first"),
  Command.withExamples([
    { command: "callisto calls list --database calls.db --state running" },
    { command: "callisto calls list --database postgres://app@db.example/shop --user app --limit 500" }
  ])
)

const callsShowCommand = Command.make(
  "show",
  { handle, ...kept, values: flag("values", "Print the arguments and the result too") },
  ({ handle, values, ...options }) =>
    onCalls(options, ({ show: showCall }, place, show) => showCall(place, handle, values, show))
).pipe(
  Command.withDescription("Show what is known of one durable call; its values only with --values"),
  Command.withExamples([{ command: "callisto calls show 0b6fc2ae --database calls.db --values" }])
)

const callsCancelCommand = Command.make(
  "cancel",
  { handle, ...kept },
  ({ handle, ...options }) => onCalls(options, ({ cancel }, place, show) => cancel(place, handle, show))
).pipe(
  Command.withDescription("Ask for the end of a durable call; one that has not started ends at once"),
  Command.withExamples([{ command: "callisto calls cancel 0b6fc2ae --database calls.db" }])
)

const callsForgetCommand = Command.make(
  "forget",
  { handle, ...kept },
  ({ handle, ...options }) => onCalls(options, ({ forget }, place, show) => forget(place, handle, show))
).pipe(
  Command.withDescription("Remove the record of a durable call that has ended"),
  Command.withExamples([{ command: "callisto calls forget 0b6fc2ae --database calls.db" }])
)

const callsCommand = Command.make("calls").pipe(
  Command.withDescription("List, show, cancel and forget durable calls in their database"),
  Command.withSubcommands([callsListCommand, callsShowCommand, callsCancelCommand, callsForgetCommand])
)

const globalFlags = [Json, Timeout, ...loginFlags] as const

/** It does not repeat what was given: that may be a token. */
const notAnInspector: Failure = {
  _tag: "Failure",
  exitCode: exitCodes.usage,
  message: "The URL is not that of an inspector, expected http://127.0.0.1:PORT/#token=TOKEN.",
  advice: "Take the URL that the program logs, in quotes because # means something to shells."
}

const watchCommand = Command.make(
  "watch",
  {
    url: Argument.String("URL").pipe(
      Argument.withDescription("The URL of an inspector, with its token, as the program logs it")
    ),
    filter: Flag.String("filter").pipe(
      Flag.withMetavar("WORDS"),
      Flag.withDescription("Only calls with these words: of their method, caller, address, code or state"),
      Flag.optional
    ),
    side: Flag.Literals("side", ["client", "server"] as const).pipe(
      Flag.withDescription("Only the calls that the program makes, or only those that it serves"),
      Flag.optional
    )
  },
  ({ filter, side, url }) =>
    Effect.gen(function* () {
      const address = yield* Effect.fromOption(parseInspector(url)).pipe(Effect.mapError(() => notAnInspector))
      yield* watch(
        { address, filter: Option.getOrUndefined(filter), side: Option.getOrUndefined(side) },
        yield* Json
      )
    })
).pipe(
  Command.withDescription("Show the calls of a program with an inspector as they come and go"),
  Command.withExamples([
    { command: 'callisto watch "http://127.0.0.1:7777/#token=TOKEN"', description: "Until Ctrl-C" },
    { command: 'callisto watch "http://127.0.0.1:7777/#token=TOKEN" --side server --json', description: "For programs" }
  ])
)

const root = Command.make("callisto").pipe(
  Command.withDescription(
    `Asks DCE/RPC servers what they are and how they are, and calls them by their IDL: Windows, Samba, Callisto.

  BINDING is a string binding, PROTOCOL:HOST[ENDPOINT], in quotes because brackets mean something to shells.
  Results go to standard output, errors to standard error.

  Exit codes: 0 done; 1 the server refused or failed, or a check found something; 2 wrong usage; 3 the server could not be reached, gave no
  answer, or the connection was lost; 70 callisto itself failed; 130 Ctrl-C; 141 nobody reads the output; 143 SIGTERM.`
  ),
  Command.withSubcommands([
    dumpCommand,
    mapCommand,
    interfacesCommand,
    statsCommand,
    pingCommand,
    importCommand,
    describeCommand,
    callCommand,
    checkCommand,
    demoCommand,
    watchCommand,
    callsCommand
  ]),
  Command.withGlobalFlags(globalFlags)
)

const globalNames: ReadonlyArray<string> = descriptorsOf([
  ...globalFlags,
  GlobalFlag.Help,
  GlobalFlag.Version,
  GlobalFlag.Completions
]).map(({ name }) => name)

// ----------------------------------------------------------------------------
// running
// ----------------------------------------------------------------------------

/**
 * Runs the tool with these arguments and gives its exit code. Interrupting it cancels the call in progress, on the server
 * too.
 */
export const run = (args: ReadonlyArray<string>): Effect.Effect<number, never, Stdio.Stdio | Transport> => {
  const json = args.slice(0, [...args, "--"].indexOf("--")).some((arg) => /^--json(=(true|1|y|yes|on))?$/.test(arg))
  const failed = (cause: Failure) => {
    const failure = withPermission(cause)
    return Effect.as(complain(failure, json), failure.exitCode)
  }
  const failedInternally = (message: string, advice: string) =>
    failed({ _tag: "Failure", exitCode: exitCodes.internal, message, advice })
  const cantWrite = ({ message }: PlatformError) =>
    failedInternally(`The output can't be written: ${message}`, "Look at where it goes.")
  return Command.runWith(root, { version })(args).pipe(
    Effect.as<number>(exitCodes.ok),
    Effect.catchTags({
      ShowHelp: () => Effect.succeed(exitCodes.usage),
      Failure: failed,
      PlatformError: cantWrite
    }),
    Effect.catchCause((cause) => {
      if (Cause.hasInterruptsOnly(cause)) return Effect.interrupt
      // A presenter of effect/cli can't fail.
      const error = Cause.squash(cause)
      return error instanceof PlatformError
        ? cantWrite(error)
        : failedInternally(Cause.pretty(cause), "This is a mistake in callisto: please report it.")
    }),
    Effect.provide(Layer.mergeAll(environment, presenter(json), logger(json)))
  )
}

/** Tells what went wrong. Where even that can't be written the exit code has to do. */
const complain = (failure: Failure, json: boolean): Effect.Effect<void, never, Stdio.Stdio> =>
  Effect.gen(function* () {
    if (json) return yield* writeLine("stderr", JSON.stringify({ error: toJson(failure) }))
    const { red, yellow } = yield* paint("stderr")
    const { name = "", number } = failure.status ?? {}
    const status = number === undefined ? "" : `${number} ${name}`.trimEnd() + ": "
    const message = sentenceOf(failure).split("\n").map(harmless).join("\n")
    yield* writeLine("stderr", `${red("error:")} ${status}${message}\n${yellow("try:")}   ${harmless(failure.advice)}`)
  }).pipe(Effect.ignore)

/** What the library warns of goes to standard error, as lines or as JSON. */
const logger = (json: boolean): Layer.Layer<never> => {
  const format = Logger.make<unknown, string>(({ logLevel, message }) => {
    const [level, text] = [logLevel.toLowerCase(), [message].flat().map(String).join(" ")]
    return json ? JSON.stringify({ [level]: text }) : `${level}: ${harmless(text)}`
  })
  return Logger.layer([Logger.withConsoleError(format)])
}

type Described = Completions.CommandDescriptor

/** The commands below one, with the words that name each. */
const below = (command: Described, path = ""): ReadonlyArray<{ readonly path: string; readonly command: Described }> =>
  command.subcommands.flatMap((each) => {
    const own = path === "" ? each.name : `${path} ${each.name}`
    return [{ path: own, command: each }, ...below(each, own)]
  })

/** Which option or command may have been meant, where effect/cli does not say. */
const hintOn = (error: CliError.CliError): string => {
  const all = Completions.fromCommand(root)
  const commands = below(all)
  if (error._tag === "UnknownSubcommand" && error.suggestions.length === 0) {
    const parent = (error.parent ?? []).slice(1).join(" ")
    const { subcommands } = commands.find(({ path }) => path === parent)?.command ?? all
    const [like] = alike(error.subcommand, subcommands.map(({ name }) => name))
    return like === undefined
      ? `. The commands are ${subcommands.map(({ name }) => name).join(", ")}`
      : didYouMean(like)
  }
  if (error._tag !== "UnrecognizedOption" || error.suggestions.length > 0) return ""
  const written = error.option.replace(/^--?/, "")
  const having = commands.filter(({ command }) => command.flags.some(({ name }) => name === written))
  if (having.length > 0) return `. It is an option of callisto ${having.map(({ path }) => path).join(", ")}`
  const [like] = alike(written, globalNames)
  return like === undefined ? "" : didYouMean(`--${like}`)
}

const didYouMean = (name: string): string => `. Did you mean this? ${name}`

/** The names that few letters turn into what was written, or that begin with it. */
const alike = (written: string, names: ReadonlyArray<string>): ReadonlyArray<string> => {
  const distance = (name: string): number => {
    let row = Array.from({ length: name.length + 1 }, (_, i) => i)
    for (const [i, letter] of [...written.slice(0, 40)].entries()) {
      const last = row
      row = [i + 1]
      for (const [j, other] of [...name].entries()) {
        row.push(Math.min(last[j]! + (letter === other ? 0 : 1), last[j + 1]! + 1, row[j]! + 1))
      }
    }
    return row.at(-1)!
  }
  const distances = names.map((name) =>
    [written.length > 1 && name.startsWith(written) ? 0 : distance(name), name] as const
  )
  return distances.filter(([far, name]) => far <= Math.min(3, name.length - 2)).sort(([a], [b]) => a - b).map((
    [, name]
  ) => name)
}

/** Shows METHOD as needed. The parser lets it be absent, so that the command can tell what is missing. */
const withNeeded = (help: HelpDoc): HelpDoc => ({
  ...help,
  usage: help.usage.replace("[<METHOD [JSON]...>]", "<METHOD [JSON]...>"),
  ...(help.args &&
    { args: help.args.map((each) => each.name === "METHOD [JSON]" ? { ...each, required: true } : each) })
})

/** A URL in the wrong place keeps its token or its password to itself: errors are logged and pasted. */
const withoutSecrets = (text: string): string =>
  text.replace(/((?:token|password)=)[^\s"]+/gi, "$1…").replace(/(:\/\/[^\s":@]*:)[^\s"]*@/g, "$1…@")

/** Shows help where it was asked for, and says of a wrong command line what is wrong with it. */
const presenter = (json: boolean): Layer.Layer<never, never, Stdio.Stdio> =>
  Layer.effect(
    CliOutput.Presenter,
    Effect.map(Effect.context<Stdio.Stdio>(), (context): CliOutput.Presenter => {
      type Misuse = CliOutput.Presenter.Help | CliOutput.Presenter.InvalidInvocation
      const misused = (message: string, { commandPath, helpDoc }: Misuse) => {
        const advice = `${withNeeded(helpDoc).usage}, which ${commandPath.join(" ")} --help explains.`
        return complain({ _tag: "Failure", exitCode: exitCodes.usage, message, advice }, json)
      }
      const present = (event: CliOutput.Presenter.Event) => {
        if (event._tag === "Version") return writeLine("stdout", event.version)
        if (event._tag === "InvalidInvocation") {
          const problems = event.errors.map((error) =>
            withoutSecrets(error.message.trim().replace(/\n\n\s*/g, ". ").replace(/\s+/g, " ") + hintOn(error))
          )
          return misused(`${problems.join(". ")}.`.replace(/([.?!])\.$/, "$1"), event)
        }
        const help = (output: "stdout" | "stderr") =>
          Effect.flatMap(capabilities(output), ({ canColor }) =>
            writeLine(
              output,
              CliOutput.defaultFormatter({ colors: canColor }).formatHelpDoc(withNeeded(event.helpDoc))
            ))
        if (event.reason === "Requested") {
          return help("stdout")
        }
        return json ? misused("A command is missing.", event) : Effect.ignore(help("stderr"))
      }
      return {
        present: (event) => Effect.orDie(Effect.provideContext(present(event), context))
      }
    })
  )

// What effect/cli asks for beside Stdio serves arguments that are files and questions to the user, which there are not.
const environment = Layer.mergeAll(
  CliConfig.layer({ builtIns: [GlobalFlag.Help, GlobalFlag.Version, makeCompletions(globalFlags)] }),
  FileSystem.layerNoop({}),
  Path.layer,
  Layer.succeed(
    ChildProcessSpawner.ChildProcessSpawner,
    ChildProcessSpawner.make(() => Effect.die(new Error("callisto starts no programs")))
  ),
  Layer.effect(
    Terminal.Terminal,
    Effect.sync(() => {
      const noQuestions = Effect.die(new Error("callisto asks no questions"))
      return Terminal.make({
        columns: noQuestions,
        rows: noQuestions,
        size: noQuestions,
        readInput: noQuestions,
        readLine: noQuestions,
        display: () => noQuestions
      })
    })
  )
)
