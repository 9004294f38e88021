import { Class as Inspectable } from "effect/Inspectable"
import { pipeArguments } from "effect/Pipeable"

/**
 * The base of public objects: they have `pipe`, and they print what their `toJSON` says and nothing else. Everything is on the
 * prototype, so an object costs nothing more.
 */
export abstract class PipeInspectable extends Inspectable {
  /** The kind of object as `_id`, its names and its state: plain values, never another object. */
  abstract override toJSON(): { readonly _id: string }

  pipe(): any {
    return pipeArguments(this, arguments)
  }
}
