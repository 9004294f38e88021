/**
 * The access rules of a manager: the lowest level that it takes, anonymous callers, and its access check.
 */
import * as Effect from "effect/Effect"
import type { AuthenticationLevel, Caller, Impersonation } from "../Channel.ts"
import { choiceOption } from "./options.ts"

// ----------------------------------------------------------------------------
// callers
// ----------------------------------------------------------------------------

/** The levels from weakest to strongest. A packet is protected as integrity is, and a call is asked for as a packet. */
const ranks: { readonly [L in AuthenticationLevel]: number } = {
  none: 0,
  connect: 1,
  call: 2,
  packet: 2,
  integrity: 2,
  privacy: 3
}

export const levels: ReadonlyArray<AuthenticationLevel> = Object.keys(ranks) as Array<AuthenticationLevel>

const impersonations: ReadonlyArray<Impersonation> = ["anonymous", "identify", "impersonate", "delegate"]

/** The program itself. */
export const localCaller: Caller.Input = { level: "privacy", anonymous: false }

/** A caller with all its fields. Throws a `TypeError` for a level that is unknown. */
export const callerOf = (owner: string, input: Caller.Input): Caller => {
  const { domain, groups = [], name, provider } = input
  const level = choiceOption(owner, "caller.level", input.level, levels, "none")
  const anonymous = input.anonymous ?? name === undefined
  const usual = anonymous ? "anonymous" : "impersonate"
  return {
    name,
    domain,
    level,
    provider,
    anonymous,
    impersonation: choiceOption(owner, "caller.impersonation", input.impersonation, impersonations, usual),
    groups
  }
}

// ----------------------------------------------------------------------------
// the rules of a manager
// ----------------------------------------------------------------------------

/** The input of an access check. */
export interface Request {
  readonly caller: Caller
  readonly method: string
  readonly object: string | undefined
}

/** The rules of a manager. */
export interface Guard {
  readonly minimumLevel: AuthenticationLevel | undefined
  readonly allowAnonymous: boolean | undefined
  readonly access: ((request: Request) => Answer) | undefined
}

/** The rules of a manager that says nothing. */
export const unguarded: Guard = { minimumLevel: undefined, allowAnonymous: undefined, access: undefined }

/** Why the caller may not call, before any access check; `usual` is the minimum where the manager names none. */
export const below = (
  { access, allowAnonymous, minimumLevel }: Guard,
  usual: AuthenticationLevel,
  { anonymous, level }: Caller
): string | undefined => {
  const minimum = minimumLevel ?? usual
  if (ranks[level] < ranks[minimum]) return `its level is ${level}, the manager takes ${minimum} or more`
  const allowed = allowAnonymous ?? (minimum === "none" && access === undefined)
  return anonymous && !allowed ? "it is anonymous" : undefined
}

/** The answer of an access check, or the effect that gives it. */
export type Answer = boolean | Effect.Effect<boolean, unknown>

/** Asks the access check. An error that it throws is its failure. */
export const ask = ({ access }: Guard, request: Request): Answer => {
  try {
    const answer = access === undefined || access(request)
    return Effect.isEffect(answer) ? answer : answer === true
  } catch (defect) {
    return Effect.die(defect)
  }
}

export const asEffect = (answer: Answer): Effect.Effect<boolean, unknown> =>
  typeof answer === "boolean" ? Effect.succeed(answer) : answer
