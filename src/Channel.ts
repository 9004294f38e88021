/**
 * The two seams of a call: a {@link Channel} carries it from a client, and a server takes it in as {@link Incoming}.
 *
 * A transport, a queue or a database that carries calls implements a channel for `Binding.make` on the client's side, and gives incoming
 * calls to `Server.accept` on the server's side.
 *
 * @module
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import type * as Tracer from "effect/Tracer"
import type { Abort, Interface, Operation } from "./Interface.ts"
import type {
  BadStubData,
  CallCancelled,
  CallComplete,
  ContextMismatch,
  PipeError,
  RpcFault,
  RpcTransportError
} from "./Status.ts"

// ----------------------------------------------------------------------------
// both sides
// ----------------------------------------------------------------------------

/**
 * The end of a call: the out parameters, or the failure that the client's `finish` gives.
 *
 * @category both sides
 * @since 0.1.0
 */
export type Outcome = Exit.Exit<
  unknown,
  Abort.Error | RpcFault | CallCancelled | ContextMismatch | RpcTransportError | PipeError
>

/**
 * The server's side of a call, as the client's side sees it. Every member may be called at any time, also after the end of the call.
 *
 * @category both sides
 * @since 0.1.0
 */
export interface Remote {
  /** `false` while it is certain that the manager has not run. */
  readonly dispatched: boolean
  /** Whether the manager has disabled cancellation for the method; only one in the same process can. */
  readonly cancelDisabled: boolean
  /**
   * Tells the server that the client wants the call to end. An effect is run by `Call.cancel`, which returns when the request is
   * recorded.
   */
  cancel(): void | Effect.Effect<void, RpcTransportError>
  /** The client no longer waits for a reply, because a cancel took too long. A late reply is discarded. */
  discard(): void
  /** Tells the server that the client has given the call up. A late reply is discarded. */
  orphan(): void
  /** The client does not need the reply but wants the work done: the server is told nothing, and its reply is discarded. */
  goOn(): void
  /**
   * Ends the call for a client that has given it up. Only a channel whose calls outlive their client needs it: there `orphan` lets the call
   * go on, and `Call.release` runs this where the program asks for `"stop"`.
   */
  giveUp?(): Effect.Effect<void>
  /** Runs before somebody waits for the call; it dies where that wait could never end. */
  readonly awaited?: Effect.Effect<void> | undefined
}

// ----------------------------------------------------------------------------
// the client's side
// ----------------------------------------------------------------------------

/**
 * The security that a client asks for, as `Security.make` of `@callisto/rpc/security` makes it. Channels inside one process have no use
 * for it.
 *
 * @category the client's side
 * @since 0.1.0
 */
export interface Security {
  /** Brands the type. */
  readonly "~callisto/Security": "~callisto/Security"
  /** How strongly messages are to be protected. */
  readonly level: AuthenticationLevel
  /** The provider that logs the client in. */
  readonly provider: { readonly name: string }
  /** Whether the server must prove who it is. */
  readonly mutual: boolean
}

/**
 * The security that a call has, once it has begun.
 *
 * @category the client's side
 * @since 0.1.0
 */
export interface Secured {
  /** How strongly its messages are protected. */
  readonly level: AuthenticationLevel
  /** The provider that protects them: `"NTLM"`. Absent without a login. */
  readonly provider: string | undefined
  /** Whether the server has proved who it is. */
  readonly mutual: boolean
  /** Whether the headers of messages are signed too. */
  readonly headerSigning: boolean
}

/**
 * Carries the calls of a binding to their server: in the same process, over a network association, through a test kit. The example
 * is at `Binding.make`.
 *
 * @category the client's side
 * @since 0.1.0
 */
export interface Channel {
  /** Whether clients may make call objects; the one-shot form always works. */
  readonly callObjects: boolean
  /** Where the server is, for messages: a string binding, or `"local"`. */
  readonly address?: string | undefined
  /** The security of its calls, as far as it is known before they begin; by default none. */
  readonly security?: Secured | undefined
  /** The references of the calling fiber that travel with its calls, see {@link Outgoing}; by default none. */
  readonly references?: ReadonlyArray<Context.Reference<any>> | undefined
  /**
   * Issues a call. Gives `undefined` when it was issued at once, and an effect where that takes time or fails; interrupting the
   * effect issues nothing. An issued call is owed exactly one `reply`, unless it is orphaned. A channel that throws issues nothing.
   */
  readonly issue: (
    call: Outgoing,
    input: unknown,
    fiber: Fiber.Fiber<unknown, unknown>
  ) => Effect.Effect<void, BadStubData | RpcFault | RpcTransportError> | undefined
  /**
   * Takes the result of a completed call. `Call.finish` and `Call.join` run it before they consume the call, and again after a rollback of
   * the transaction in which it ran. Without it the first `finish` or `join` in this process gets the result.
   */
  readonly take?: ((call: Outgoing) => Effect.Effect<void, CallComplete | RpcTransportError>) | undefined
}

/**
 * A client's call, as the channel sees it.
 *
 * @category the client's side
 * @since 0.1.0
 */
export interface Outgoing {
  /** The method that is called. */
  readonly operation: Operation
  /** The span of the call, where somebody traces it. */
  readonly span: Tracer.Span | undefined
  /** The {@link Channel}'s `references` as the calling fiber has set them; empty where it has set none. */
  readonly context: Context.Context<never>
  /** The security that its call object was given; without it the channel's own holds. */
  readonly security?: Security | undefined
  /** The security that the call has. A channel that logs in sets it when it issues the call. */
  secured?: Secured | undefined
  /** The server's side of the call. The channel sets it when it has issued the call, before anything can reply. */
  remote: Remote | undefined
  /** Tells an observer that bytes of the call were sent (`out`) or received (`in`). */
  transferred(direction: "in" | "out", bytes: number): void
  /** Ends the call. The first outcome wins; a later one is discarded. */
  reply(outcome: Outcome): void
}

// ----------------------------------------------------------------------------
// the server's side
// ----------------------------------------------------------------------------

/**
 * How strongly the caller of a call is authenticated, from weakest to strongest.
 *
 * Windows: `RPC_C_AUTHN_LEVEL`.
 *
 * @category the server's side
 * @since 0.1.0
 */
export type AuthenticationLevel = "none" | "connect" | "call" | "packet" | "integrity" | "privacy"

/**
 * How far a client lets the server act in its name.
 *
 * Windows: `RPC_C_IMP_LEVEL_ANONYMOUS` to `RPC_C_IMP_LEVEL_DELEGATE`.
 *
 * @category the server's side
 * @since 0.1.0
 */
export type Impersonation = "anonymous" | "identify" | "impersonate" | "delegate"

/**
 * The identity with which a client calls.
 *
 * **Details**
 *
 * A call inside one process has the level `privacy`, for no other process can see or change it. Unless its binding names another
 * caller, the program itself calls: it has no name, and is not anonymous.
 *
 * Windows: what `RpcBindingInqAuthClient` and `RpcServerInqCallAttributes` tell.
 *
 * @category the server's side
 * @since 0.1.0
 */
export interface Caller {
  /** The name of the user, where it is known. */
  readonly name: string | undefined
  /** The domain or the realm of the user, where it is known. */
  readonly domain: string | undefined
  /** How strongly the caller is authenticated. */
  readonly level: AuthenticationLevel
  /** The security provider that has authenticated the caller: `"NTLM"`. */
  readonly provider: string | undefined
  /** Whether nobody has authenticated the caller. */
  readonly anonymous: boolean
  /** How far the caller lets the server act in its name. */
  readonly impersonation: Impersonation
  /** The groups of the user, as the provider knows them: SIDs as text, or what the account callback gave. */
  readonly groups: ReadonlyArray<string>
}

/**
 * Types that belong to {@link Caller}.
 *
 * @category the server's side
 * @since 0.1.0
 */
export declare namespace Caller {
  /**
   * A caller as a program states it. The defaults: level `none`; anonymous where there is no name; impersonation `impersonate`, or
   * `anonymous`; no groups.
   */
  export type Input = { readonly [K in keyof Caller]?: Caller[K] | undefined }
}

/**
 * One client of a server, made with `Server.client`: the origin of its calls and the owner of its context handles.
 *
 * @category the server's side
 * @since 0.1.0
 */
export interface Origin {
  /** The identity with which the client calls. */
  readonly caller: Caller
  /** The transport's address of the client; `"local"` inside one process. */
  readonly peer: string
}

/**
 * The reason why a server does not take a call in. Nothing was executed.
 *
 * @category the server's side
 * @since 0.1.0
 */
export type Refusal = RpcFault | BadStubData | ContextMismatch | RpcTransportError

/**
 * A call that arrives at a server, for `Server.accept`.
 *
 * @category the server's side
 * @since 0.1.0
 */
export interface Incoming {
  /** The client that makes the call. */
  readonly origin: Origin
  /** The interface that the client calls: its UUID and version. */
  readonly interface: Interface.Identity
  /** The UUID of the object that the client calls, in its canonical form; `undefined` for none. */
  readonly object: string | undefined
  /** The number of the method in its interface. */
  readonly opnum: number
  /** The in parameters. Read after {@link decode}, as are `span` and `context`. */
  readonly input: unknown
  /** The span of the client's call, the parent of the server's; by default none. */
  readonly span?: Tracer.AnySpan | undefined
  /** References that the routine finds in its context; by default none. */
  readonly context?: Context.Context<never> | undefined
  /**
   * Makes `input` ready for the method as the server describes it, or gives the reason why it can't. It runs when the call is
   * admitted, so that a call that is refused costs no decoding: after `accepted` where the manager's access check takes time.
   */
  decode?(operation: Operation): BadStubData | undefined
  /** Gives the handle to the server's side of an accepted call, before its routine runs. */
  accepted?(remote: Remote): void
  /**
   * Takes the outcome of an accepted call, exactly once, unless its client is gone. Gives the reason where the out parameters can't be
   * marshalled; the host then tells the client 1783. The end of the call waits for an effect, and so does the scope of the call. It
   * must not call `Server.accept`: a chain of such calls would use up the stack.
   */
  reply(outcome: Outcome): void | BadStubData | Effect.Effect<void, BadStubData | RpcTransportError>
  /** The client's scope has closed before the call ended: no reply follows. */
  disconnected?(): void
  /** Runs after a hand-off routine has returned, before the hand-off counts. Its failure ends the call. */
  handedOff?(): Effect.Effect<void, RpcTransportError>
}
