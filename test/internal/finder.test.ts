/** The search for something among the parts of a schema. */
import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import type * as SchemaAST from "effect/SchemaAST"
import { finder } from "../../src/internal/handleSchema.ts"

interface Tree {
  readonly trees: ReadonlyArray<Tree>
  readonly flag: boolean
}

describe("the search in schemas", () => {
  it("schemas that share parts: each part in which nothing was found is looked at once", () => {
    const looked: Array<SchemaAST.AST> = []
    const find = finder((part) => {
      looked.push(part)
      return undefined
    })
    const Row = Schema.Struct({ a: Schema.String, b: Schema.Array(Schema.Int) })
    for (const schema of [Row, Schema.Array(Row), Schema.Struct({ rows: Schema.NullOr(Row) }), Row]) find(schema.ast)
    assert.strictEqual(new Set(looked).size, looked.length)
  })

  it("a cycle in which something was found: it is found again from every part of the cycle", () => {
    const Tree: Schema.Codec<Tree> = Schema.Struct({
      trees: Schema.Array(Schema.suspend(() => Tree)),
      flag: Schema.Boolean
    })
    const find = finder(({ _tag }) => _tag === "Boolean" || undefined)
    const trees = (Tree.ast as SchemaAST.Objects).propertySignatures[0]!.type
    for (const ast of [Tree.ast, trees, Tree.ast, trees]) assert.isTrue(find(ast))
  })
})
